// What programs do with the official JavaScript client: typed objects, pages, patches, informers, watches and streams.
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import * as k8s from '@kubernetes/client-node';

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const namespace = 'javascript';

const ok = (what) => console.log('ok', what);

async function until(what, look, seconds = 30) {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(50)) {
        const found = await look();
        if (found) return found;
    }
    throw new Error(`waited ${seconds} s for ${what}`);
}

async function refused(code, promise) {
    const error = await promise.then(() => assert.fail(`it succeeded instead of ${code}`), (error) => error);
    assert.equal(error.code, code, error);
    return JSON.parse(error.body);
}

const configMap = (name, data = { a: '1' }) => ({ metadata: { name, labels: { of: 'javascript' } }, data });

await core.createNamespace({ body: { metadata: { name: namespace } } });
const made = await core.createNamespacedConfigMap({ namespace, body: configMap('one') });
assert.ok(made.metadata.creationTimestamp instanceof Date);
await core.patchNamespacedConfigMap(
    { namespace, name: 'one', body: { data: { b: '2' } } },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
);
assert.deepEqual((await core.readNamespacedConfigMap({ namespace, name: 'one' })).data, { a: '1', b: '2' });
assert.equal((await refused(409, core.replaceNamespacedConfigMap({ namespace, name: 'one', body: made }))).reason, 'Conflict');
assert.equal((await refused(404, core.readNamespacedConfigMap({ namespace, name: 'none' }))).reason, 'NotFound');
ok('objects live, change and are missed');

const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const budget = {
    apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', metadata: { name: 'any', namespace },
    spec: { maxUnavailable: '10%', selector: { matchLabels: { a: 'b' } } },
};
await objects.create(budget);
budget.spec.maxUnavailable = 1;
const applied = await objects.patch(
    budget, undefined, undefined, 'javascript', true, k8s.PatchStrategy.ServerSideApply);
assert.equal(applied.spec.maxUnavailable, 1);
await objects.delete(budget);
ok('any kind is applied by its document');

for (let number = 0; number < 7; number += 1) {
    await core.createNamespacedConfigMap({ namespace, body: configMap(`page-${number}`) });
}
const names = [];
let _continue;
do {
    const page = await core.listNamespacedConfigMap({ namespace, labelSelector: 'of=javascript', limit: 3, _continue });
    names.push(...page.items.map((item) => item.metadata.name));
    _continue = page.metadata._continue;
} while (_continue);
assert.deepEqual(names, ['one', ...Array.from({ length: 7 }, (_, number) => `page-${number}`)]);
ok('pages make up the list');

const seen = [];
const informer = k8s.makeInformer(
    config, `/api/v1/namespaces/${namespace}/configmaps`,
    () => core.listNamespacedConfigMap({ namespace, labelSelector: 'of=javascript' }), 'of=javascript');
for (const verb of ['add', 'update', 'delete']) {
    informer.on(verb, (object) => seen.push(`${verb} ${object.metadata.name}`));
}
informer.on('error', (error) => seen.push(`error ${error}`));
await informer.start();
assert.equal(informer.list().length, 8);
await core.createNamespacedConfigMap({ namespace, body: configMap('late') });
await until('the new one', () => seen.includes('add late'));
await core.patchNamespacedConfigMap(
    { namespace, name: 'late', body: [{ op: 'replace', path: '/data/a', value: '9' }] },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch),
);
await until('the change', () => informer.get('late', namespace)?.data.a === '9');
await core.deleteNamespacedConfigMap({ namespace, name: 'late' });
await until('its end', () => seen.includes('delete late'));
assert.deepEqual(seen.filter((line) => line.startsWith('error')), []);
await informer.stop();
assert.equal(informer.get('late', namespace), undefined);
ok('an informer follows');

const labels = { app: 'web' };
const containers = [{ name: 'main', image: 'hello-http:v1', ports: [{ containerPort: 8080 }] }];
await apps.createNamespacedDeployment({
    namespace,
    body: {
        metadata: { name: 'web' },
        spec: { replicas: 2, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers } } },
    },
});
const ready = await until('two pods', async () => {
    const { status } = await apps.readNamespacedDeployment({ namespace, name: 'web' });
    return status.readyReplicas === 2 && status;
});
assert.equal(ready.conditions.find((condition) => condition.type === 'Available').status, 'True');
const { items: [pod] } = await core.listNamespacedPod({ namespace, labelSelector: 'app=web' });
await core.connectGetNamespacedPodProxyWithPath({ namespace, name: pod.metadata.name, path: 'from-javascript' });
await until('its log', async () => {
    const log = await core.readNamespacedPodLog({ namespace, name: pod.metadata.name });
    return log.includes('GET /from-javascript');
});
ok('a deployment gets ready and its log is read');

await core.createNamespacedPod({
    namespace,
    body: { metadata: { name: 'echo' }, spec: { containers: [{ name: 'main', image: 'streams:v1', args: ['copy'], stdin: true }] } },
});
await until('the pod runs', async () => (await core.readNamespacedPod({ namespace, name: 'echo' })).status.phase === 'Running');
const [output, errors] = [new PassThrough(), new PassThrough()];
const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(namespace, 'echo', 'main', ['fail'], output, errors, null, false, resolve).catch(reject);
});
assert.equal(status.details.causes.find((cause) => cause.reason === 'ExitCode').message, '3');
assert.deepEqual([output.read().toString(), errors.read().toString()], ['out\n', 'err\n']);
ok('a command runs and says how it ended');

await core.deleteNamespace({ name: namespace });
await until('the namespace goes', () => core.readNamespace({ name: namespace }).then(() => false, (error) => error.code === 404));
ok('and everything is gone');
