#!/usr/bin/env python3
"""Writes protobuf.txt: how Kubernetes' messages look in protobuf and in JSON.

Usage: protobuf.py K8S_PB_SOURCE K8S_OPENAPI_SOURCE > protobuf.txt

Field numbers and types come from the prost types of the crate k8s-pb, JSON names from the serde code of the crate
k8s-openapi (same names, less the underscores). What neither knows stands in this file: which scalars are pointers in
Go (their zero is a value, any other zero means "not set"), and fields that are newer than k8s-pb.
"""
import pathlib, re, sys

PB, OPENAPI = pathlib.Path(sys.argv[1]) / "src", pathlib.Path(sys.argv[2]) / "src/v1_37"

ROOTS = """
core.v1: Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolumeClaim PersistentVolume Pod
  PodTemplate ReplicationController ResourceQuota Secret ServiceAccount Service
apps.v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet
events.v1: Event
authentication.v1: SelfSubjectReview TokenReview TokenRequest
authorization.v1: LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
autoscaling.v2: HorizontalPodAutoscaler
autoscaling.v1: HorizontalPodAutoscaler Scale
batch.v1: CronJob Job
certificates.v1: CertificateSigningRequest ClusterTrustBundle PodCertificateRequest
networking.v1: IngressClass Ingress IPAddress NetworkPolicy ServiceCIDR
policy.v1: PodDisruptionBudget Eviction
rbac.v1: ClusterRoleBinding ClusterRole RoleBinding Role
storage.v1: CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass
admissionregistration.v1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
  ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
scheduling.v1: PriorityClass
coordination.v1: Lease
node.v1: RuntimeClass
discovery.v1: EndpointSlice
flowcontrol.v1: FlowSchema PriorityLevelConfiguration
resource.v1: DeviceClass DeviceTaintRule ResourceClaim ResourceClaimTemplate ResourceSlice
storagemigration.v1: StorageVersionMigration
apiregistration.v1: APIService
apiextensions.v1: CustomResourceDefinition
meta.v1: DeleteOptions ListMeta Status
"""

# Kinds that are stable in Kubernetes and not yet in k8s-pb: their messages are those of an older version.
PROMOTED = {
    "admissionregistration.v1": "admissionregistration.v1beta1",
    "certificates.v1": "certificates.v1beta1",
    "resource.v1": "resource.v1alpha3",
    "storagemigration.v1": "storagemigration.v1beta1",
}

# Scalars that are pointers in Go (`staging/src/k8s.io/api/*/types.go`).
POINTERS = {field for line in """
meta.v1.ObjectMeta deletionGracePeriodSeconds
meta.v1.OwnerReference controller blockOwnerDeletion
meta.v1.DeleteOptions gracePeriodSeconds orphanDependents propagationPolicy ignoreStoreReadErrorWithClusterBreakingPotential
meta.v1.Preconditions uid resourceVersion
core.v1.AzureDiskVolumeSource cachingMode fsType readOnly kind
core.v1.AppArmorProfile localhostProfile
core.v1.AzureFilePersistentVolumeSource secretNamespace
core.v1.CSIVolumeSource readOnly fsType
core.v1.ClusterTrustBundleProjection name signerName optional
core.v1.ConfigMap immutable
core.v1.ConfigMapEnvSource optional
core.v1.ConfigMapKeySelector optional
core.v1.ConfigMapProjection optional
core.v1.ConfigMapVolumeSource defaultMode optional
core.v1.Container restartPolicy
core.v1.ContainerStatus started stopSignal
core.v1.DownwardAPIVolumeFile mode
core.v1.DownwardAPIVolumeSource defaultMode
core.v1.EndpointAddress nodeName
core.v1.EndpointPort appProtocol
core.v1.EphemeralContainerCommon restartPolicy
core.v1.FCVolumeSource lun
core.v1.FileKeySelector optional
core.v1.GRPCAction service
core.v1.GlusterfsPersistentVolumeSource endpointsNamespace
core.v1.HostAlias _
core.v1.HostPathVolumeSource type
core.v1.HTTPGetAction _
core.v1.ISCSIVolumeSource initiatorName
core.v1.ISCSIPersistentVolumeSource initiatorName
core.v1.KeyToPath mode
core.v1.Lifecycle stopSignal
core.v1.LoadBalancerIngress ipMode
core.v1.LocalVolumeSource fsType
core.v1.NodeFeatures supplementalGroupsPolicy
core.v1.NodeRuntimeHandlerFeatures recursiveReadOnlyMounts userNamespaces
core.v1.NodeSpec _
core.v1.PersistentVolumeClaimSpec storageClassName volumeMode volumeAttributesClassName
core.v1.PersistentVolumeClaimStatus currentVolumeAttributesClassName
core.v1.PersistentVolumeSpec volumeMode volumeAttributesClassName
core.v1.PodDNSConfigOption value
core.v1.PodSpec terminationGracePeriodSeconds activeDeadlineSeconds automountServiceAccountToken shareProcessNamespace priority runtimeClassName enableServiceLinks preemptionPolicy setHostnameAsFQDN hostUsers hostnameOverride
core.v1.PodSecurityContext runAsUser runAsGroup runAsNonRoot fsGroup fsGroupChangePolicy supplementalGroupsPolicy seLinuxChangePolicy
core.v1.PodResourceClaim resourceClaimName resourceClaimTemplateName
core.v1.PodResourceClaimStatus resourceClaimName
core.v1.PodCertificateProjection maxExpirationSeconds
core.v1.PortStatus error
core.v1.Probe terminationGracePeriodSeconds
core.v1.ProjectedVolumeSource defaultMode
core.v1.ReplicationControllerSpec replicas
core.v1.ScaleIOVolumeSource _
core.v1.Secret immutable
core.v1.SecretEnvSource optional
core.v1.SecretKeySelector optional
core.v1.SecretProjection optional
core.v1.SecretVolumeSource defaultMode optional
core.v1.SeccompProfile localhostProfile
core.v1.SecurityContext privileged runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation procMount
core.v1.ServiceAccount automountServiceAccountToken
core.v1.ServiceAccountTokenProjection expirationSeconds
core.v1.ServicePort appProtocol
core.v1.ServiceSpec internalTrafficPolicy allocateLoadBalancerNodePorts loadBalancerClass ipFamilyPolicy trafficDistribution
core.v1.ClientIPConfig timeoutSeconds
core.v1.Toleration tolerationSeconds
core.v1.TopologySpreadConstraint minDomains nodeAffinityPolicy nodeTaintsPolicy
core.v1.TypedLocalObjectReference apiGroup
core.v1.TypedObjectReference apiGroup namespace
core.v1.VolumeMount mountPropagation recursiveReadOnly
core.v1.VolumeMountStatus recursiveReadOnly
core.v1.WindowsSecurityContextOptions gmsaCredentialSpecName gmsaCredentialSpec runAsUserName hostProcess
core.v1.LinuxContainerUser _
apps.v1.DaemonSetSpec revisionHistoryLimit
apps.v1.DaemonSetStatus collisionCount
apps.v1.DeploymentSpec replicas revisionHistoryLimit progressDeadlineSeconds
apps.v1.DeploymentStatus collisionCount terminatingReplicas
apps.v1.ReplicaSetSpec replicas
apps.v1.ReplicaSetStatus terminatingReplicas
apps.v1.RollingUpdateStatefulSetStrategy partition
apps.v1.StatefulSetSpec replicas revisionHistoryLimit
apps.v1.StatefulSetStatus collisionCount
authentication.v1.TokenRequestSpec expirationSeconds
autoscaling.v1.HorizontalPodAutoscalerSpec minReplicas targetCPUUtilizationPercentage
autoscaling.v1.HorizontalPodAutoscalerStatus observedGeneration currentCPUUtilizationPercentage
autoscaling.v2.HPAScalingRules stabilizationWindowSeconds selectPolicy
autoscaling.v2.HorizontalPodAutoscalerSpec minReplicas
autoscaling.v2.HorizontalPodAutoscalerStatus observedGeneration
autoscaling.v2.MetricTarget averageUtilization
autoscaling.v2.MetricValueStatus averageUtilization
batch.v1.CronJobSpec timeZone startingDeadlineSeconds suspend successfulJobsHistoryLimit failedJobsHistoryLimit
batch.v1.JobSpec parallelism completions activeDeadlineSeconds backoffLimit backoffLimitPerIndex maxFailedIndexes manualSelector ttlSecondsAfterFinished completionMode suspend podReplacementPolicy managedBy
batch.v1.JobStatus terminating ready failedIndexes
batch.v1.PodFailurePolicyOnExitCodesRequirement containerName
batch.v1.SuccessPolicyRule succeededIndexes succeededCount
certificates.v1.CertificateSigningRequestSpec expirationSeconds
coordination.v1.LeaseSpec holderIdentity leaseDurationSeconds leaseTransitions strategy preferredHolder
discovery.v1.Endpoint hostname nodeName zone
discovery.v1.EndpointConditions ready serving terminating
discovery.v1.EndpointPort name protocol port appProtocol
networking.v1.HTTPIngressPath pathType
networking.v1.IngressClassParametersReference apiGroup scope namespace
networking.v1.IngressPortStatus error
networking.v1.IngressSpec ingressClassName
networking.v1.NetworkPolicyPort protocol endPort
policy.v1.PodDisruptionBudgetSpec unhealthyPodEvictionPolicy
scheduling.v1.PriorityClass preemptionPolicy
storage.v1.CSIDriverSpec attachRequired podInfoOnMount fsGroupPolicy storageCapacity requiresRepublish seLinuxMount nodeAllocatableUpdatePeriodSeconds serviceAccountTokenInSecrets
storage.v1.StorageClass reclaimPolicy allowVolumeExpansion volumeBindingMode
storage.v1.TokenRequest expirationSeconds
storage.v1.VolumeAttachmentSource persistentVolumeName
storage.v1.VolumeError errorCode
storage.v1.VolumeNodeResources count
admissionregistration.v1.MutatingWebhook failurePolicy matchPolicy sideEffects timeoutSeconds reinvocationPolicy
admissionregistration.v1.ValidatingWebhook failurePolicy matchPolicy sideEffects timeoutSeconds
admissionregistration.v1.WebhookClientConfig url
admissionregistration.v1.ServiceReference path port
admissionregistration.v1.Rule scope
admissionregistration.v1.MatchResources matchPolicy
admissionregistration.v1.ValidatingAdmissionPolicySpec failurePolicy
admissionregistration.v1.ParamRef parameterNotFoundAction
admissionregistration.v1.Validation reason
flowcontrol.v1.ExemptPriorityLevelConfiguration nominalConcurrencyShares lendablePercent
flowcontrol.v1.LimitedPriorityLevelConfiguration nominalConcurrencyShares lendablePercent borrowingLimitPercent
resource.v1.DeviceAttribute int bool string version
resource.v1.Device nodeName allNodes bindsToNode allowMultipleAllocations
resource.v1.ExactDeviceRequest adminAccess
resource.v1.DeviceRequestAllocationResult adminAccess
resource.v1.DeviceToleration tolerationSeconds
resource.v1.ResourceSliceSpec nodeName allNodes perDeviceNodeSelection
resource.v1.DeviceClassSpec extendedResourceName
resource.v1.DeviceTaintSelector driver pool device
certificates.v1.PodCertificateRequestSpec maxExpirationSeconds
admissionregistration.v1.MutatingAdmissionPolicySpec failurePolicy
apiregistration.v1.ServiceReference port
apiextensions.v1.CustomResourceDefinitionVersion deprecationWarning
apiextensions.v1.CustomResourceSubresourceScale labelSelectorPath
apiextensions.v1.JSONSchemaProps $ref maximum minimum maxLength minLength maxItems minItems multipleOf maxProperties minProperties x-kubernetes-preserve-unknown-fields x-kubernetes-list-type x-kubernetes-map-type
apiextensions.v1.ServiceReference path port
apiextensions.v1.ValidationRule reason optionalOldSelf
apiextensions.v1.WebhookClientConfig url
meta.v1.ListMeta remainingItemCount
""".strip().splitlines() for name, *names in [line.split()] for field in [(name, f) for f in names]}

# Structs whose fields stand beside those of the struct that embeds them, and one that does (it knows the JSON names).
EMBEDDED = {
    "core.v1.EphemeralContainerCommon": "core.v1.EphemeralContainer",
    "core.v1.LocalObjectReference": "core.v1.LocalObjectReference",
    "core.v1.PersistentVolumeSource": "core.v1.PersistentVolumeSpec",
    "core.v1.ProbeHandler": "core.v1.Probe",
    "core.v1.VolumeSource": "core.v1.Volume",
    "networking.v1.IngressRuleValue": "networking.v1.IngressRule",
    "resource.v1.DeviceConfiguration": "resource.v1.DeviceClassConfiguration",
    "admissionregistration.v1.Rule": "admissionregistration.v1.RuleWithOperations",
    "admissionregistration.v1.RuleWithOperations": "admissionregistration.v1.RuleWithOperations",
}

# Fields that Kubernetes has and k8s-pb has not (yet, or because a message is empty): message, number, JSON name, type, flags.
NEWER = """
apiextensions.v1.CustomResourceSubresourceStatus
meta.v1.PartialObjectMetadata 1 metadata meta.v1.ObjectMeta
certificates.v1.PodCertificateRequestSpec 12 stubPKCS10Request bytes !
authentication.v1.TokenRequestSpec 5 attestations {}strings
batch.v1.JobSpec 17 scheduling batch.v1.JobScheduling
batch.v1.JobScheduling 1 schedulingPolicy batch.v1.SchedulingPolicy
batch.v1.JobScheduling 2 schedulingConstraints batch.v1.SchedulingConstraints
batch.v1.JobScheduling 3 disruptionMode batch.v1.DisruptionMode
batch.v1.JobScheduling 4 resourceClaims []batch.v1.SchedulingResourceClaim
batch.v1.SchedulingResourceClaim 1 name string !
batch.v1.SchedulingResourceClaim 2 resourceClaimName string ?
batch.v1.SchedulingResourceClaim 3 resourceClaimTemplateName string ?
batch.v1.SchedulingPolicy 1 basic batch.v1.BasicSchedulingPolicy
batch.v1.SchedulingPolicy 2 gang batch.v1.GangSchedulingPolicy
batch.v1.GangSchedulingPolicy 1 minCount int
batch.v1.SchedulingConstraints 1 topology []batch.v1.TopologyConstraint
batch.v1.TopologyConstraint 1 key string !
batch.v1.DisruptionMode 1 single batch.v1.BasicSchedulingPolicy
batch.v1.DisruptionMode 2 all batch.v1.BasicSchedulingPolicy
batch.v1.BasicSchedulingPolicy
core.v1.NodeSpec 8 podPreemptionPolicy core.v1.PodPreemptionPolicy
core.v1.PodPreemptionPolicy 1 disableResizePreemption []string
core.v1.PersistentVolumeClaimStatus 10 healthStatus core.v1.VolumeHealth
core.v1.PodStatus 22 volumeHealth []core.v1.PodVolumeHealth
core.v1.VolumeHealth 1 healthConditions []core.v1.VolumeHealthCondition
core.v1.VolumeHealth 2 lastTransitionTime time
core.v1.PodVolumeHealth 1 name string !
core.v1.PodVolumeHealth 2 healthConditions []core.v1.VolumeHealthCondition
core.v1.PodVolumeHealth 3 lastTransitionTime time
core.v1.VolumeHealthCondition 1 status string
core.v1.VolumeHealthCondition 2 reason string
core.v1.VolumeHealthCondition 3 message string
core.v1.VolumeMountStatus 5 volumeStatus core.v1.VolumeStatus
core.v1.VolumeStatus 1 image core.v1.ImageVolumeStatus
core.v1.ImageVolumeStatus 1 imageRef string
autoscaling.v2.HorizontalPodAutoscalerCondition 6 observedGeneration int
core.v1.ClusterTrustBundleProjection 6 user int ?
core.v1.ConfigMapVolumeSource 5 defaultUser int ?
core.v1.DownwardAPIVolumeFile 5 user int ?
core.v1.DownwardAPIVolumeSource 3 defaultUser int ?
core.v1.EmptyDirVolumeSource 3 mode int ?
core.v1.EvictionResponder 1 name string !
core.v1.EvictionResponder 2 priority int ?
core.v1.GRPCAction 3 mode string ?
core.v1.HTTPGetAction 6 protocol string ?
core.v1.KeyToPath 4 user int ?
core.v1.PodCertificateProjection 8 user int ?
core.v1.PodSchedulingGroup 1 podGroupName string ?
core.v1.PodSpec 43 schedulingGroup core.v1.PodSchedulingGroup
core.v1.PodSpec 44 evictionResponders []core.v1.EvictionResponder
core.v1.ProjectedVolumeSource 3 defaultUser int ?
core.v1.ResourceHealth 6 message string ?
core.v1.SecretVolumeSource 5 defaultUser int ?
core.v1.ServiceAccountTokenProjection 4 user int ?
core.v1.VolumeMount 8 bindMountOptions []string
""".strip().splitlines()


def short(rust_path):
    """`api/core/v1` + `Pod` -> `core.v1.Pod`."""
    parts = rust_path.parts
    if "meta" in parts:
        return "meta." + parts[-1]
    if parts[0] == "api":
        return ".".join(parts[1:])
    if "apis" in parts:
        return ".".join(parts[-2:])
    return {"resource": "quantity", "runtime": "runtime", "intstr": "intstr"}[parts[-1]]


def squash(name):
    return name.replace("r#", "").replace("_", "").replace("-", "").lower()


def plain(definition):
    """`api.core.v1.Pod`, `apimachinery.pkg.apis.meta.v1.Status` -> `core.v1.Pod`, `meta.v1.Status`."""
    return re.sub(r"^(api|[\w-]+\.pkg\.apis)\.", "", definition)


def read_json_names():
    """Returns squashed schema name -> {squashed field name: (JSON name, required)}."""
    schemas = {}
    for file in OPENAPI.rglob("*.rs"):
        text = file.read_text()
        found = re.search(r"// Generated from definition io\.k8s\.(\S+)", text)
        if not found:
            continue
        name = plain(found[1])
        struct = re.search(r"pub struct \w+ \{(.*?)\n\}", text, re.S)
        optional = dict(re.findall(r"pub (\S+): (.*),", struct[1])) if struct else {}
        fields = {}
        for json_name, key in re.findall(r'"([^"]+)" => Field::Key_(\w+),', text):
            required = not optional.get(key, optional.get("r#" + key, "Option<")).startswith("Option<")
            fields[squash(key.removesuffix("_path") if json_name == "$ref" else key)] = (json_name, required and json_name != "metadata")
        schemas.setdefault(squash(name), fields)
    return schemas


def read_messages():
    """Returns message name -> [(number, rust name, kind, rust type)]."""
    messages = {}
    for file in sorted(PB.rglob("mod.rs")):
        folder = file.parent.relative_to(PB)
        if folder.parts[:1] not in (("api",), ("apimachinery",), ("kube_aggregator",), ("apiextensions_apiserver",)) or "testapigroup" in folder.parts:
            continue
        try:
            package = short(folder)
        except KeyError:
            continue
        for struct, body in re.findall(r"pub struct (\w+) \{\n(.*?)\n\}", file.read_text(), re.S):
            fields = []
            pattern = r'#\[prost\(([^\]]*), tag = "(\d+)"\)\]\s+pub (\S+):\s*(.*?),\n(?=\s*///|\s*#|\Z)'
            for kind, number, name, rust in re.findall(pattern, body + "\n" if body.endswith(",") else body + ",\n", re.S):
                fields.append((int(number), name, kind, re.sub(r"\s+", "", rust)))
            messages[f"{package}.{struct}"] = (fields, package)
    for package, older in PROMOTED.items():
        known = {squash(name) for name in messages}
        for name, (fields, of) in list(messages.items()):
            promoted = f"{package}.{name.rsplit('.', 1)[-1]}"
            if of == older and squash(promoted) not in known:
                messages[promoted] = (fields, package)
    return messages


WELL_KNOWN = {"Time": "time", "MicroTime": "microtime", "Quantity": "quantity", "IntOrString": "intorstring",
              "Duration": "duration", "RawExtension": "raw", "FieldsV1": "fields", "ExtraValue": "strings",
              "Json": "raw", "JsonSchemaPropsOrBool": "schema|bool", "JsonSchemaPropsOrArray": "schema|schemas",
              "JsonSchemaPropsOrStringArray": "schema|strings"}


def main():
    messages, names = read_messages(), read_json_names()
    real = {}  # the names in Kubernetes' own spelling: k8s-pb writes CsiDriver for CSIDriver
    for file in OPENAPI.rglob("*.rs"):
        found = re.search(r"// Generated from definition io\.k8s\.(\S+)", file.read_text())
        if found:
            name = plain(found[1])
            real[squash(name)] = name
    by_squashed = {squash(name): name for name in messages}

    def spelled(name):
        return real.get(squash(name), name)

    def type_of(kind, rust, package):
        inner = rust.rsplit("<", 1)[-1].split(">")[0].rstrip(",").split(",")[-1]
        if kind.startswith("btree_map"):
            value = kind.split('"')[1].split(",")[1].strip()
            return "{}" + (reference(rust.split(",", 1)[-1].rstrip(">,") if value == "message" else "", package) if value == "message" else value)
        base = kind.split(",")[0].split(" ")[0]
        text = {"string": "string", "bool": "bool", "int32": "int", "int64": "int", "uint32": "int", "double": "double", "bytes": "bytes"}.get(base)
        if base == "message":
            text = reference(inner, package)
        return ("[]" if "repeated" in kind else "") + text

    def reference(rust, package):
        last = rust.split("::")[-1]
        if last in WELL_KNOWN:
            return WELL_KNOWN[last]
        parts = [part.replace("r#", "") for part in rust.split("::") if part not in ("super", "crate")]
        if len(parts) == 1:
            return f"{package}.{last}"
        return short(pathlib.PurePath(*[p for p in parts[:-1]])) + "." + last if parts[0] in ("api", "apimachinery") else guess(parts)

    def guess(parts):
        wanted = [name for name in messages if name.endswith("." + ".".join(parts[-2:]))]
        wanted = [name for name in wanted if name.split(".")[:-1][0] in parts or "meta" in parts] or wanted
        by_group = [name for name in wanted if name == ".".join(parts[-3:])]
        return (by_group or wanted)[0]

    newer = {}
    for line in NEWER:
        message, *field = line.split(" ", 2)
        lines = newer.setdefault(message, [])
        if field:
            lines.append((int(field[0]), " ".join(field)))
    out, queue = {}, []
    for line in re.sub(r"\n  ", " ", ROOTS.strip()).splitlines():
        group, kinds = line.split(": ")
        for kind in kinds.split():
            name = by_squashed.get(squash(f"{group}.{kind}"))
            queue += [name] if name else print(f"k8s-pb has no {group} {kind}", file=sys.stderr) or []
    while queue:
        name = queue.pop()
        if name in out:
            continue
        fields, package = messages[name]
        known = names.get(squash(EMBEDDED.get(spelled(name), name)), {})
        lines = []
        for number, rust_name, kind, rust in sorted(fields):
            kind_text = type_of(kind, rust, package)
            json_name, required = known.get(squash(rust_name), (None, False))
            message = kind_text.lstrip("[]{}")
            flags = ""
            if json_name is None and spelled(message) in EMBEDDED:
                json_name, flags = rust_name, "^"
            if json_name is None:
                print(f"not in the API: {name} {rust_name}", file=sys.stderr)
                continue
            if message in messages:
                queue.append(message)
            spelled_name = spelled(name)
            if (spelled_name, json_name) in POINTERS:
                flags += "?"
            elif required:
                flags += "!"
            text = kind_text.replace(message, spelled(message)) if message in messages else kind_text
            lines.append((number, f"{number} {json_name} {text}{' ' + flags if flags else ''}"))
        lines += newer.pop(spelled(name), [])
        out[name] = [line for _, line in sorted(lines)]
    for message, lines in newer.items():
        out[message] = [line for _, line in lines]
    used = {(spelled(name), line.split()[1]) for name, lines in out.items() for line in lines}
    for pointer in sorted(POINTERS - used):
        if pointer[1] != "_":
            print(f"no such pointer: {pointer}", file=sys.stderr)
    print("# Kubernetes messages in protobuf: number, JSON name, type, flags (? pointer, ! always there, ^ embedded).")
    print("# Written by protobuf.py; do not edit.")
    for name in sorted(out, key=spelled):
        print(spelled(name))
        for line in out[name]:
            print(" " + line)


main()
