// Turns text into a slug, a title or a shout: GET /slug?text=Hello%20World
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from "wasi:http/types@0.2.12";

const styles = {
  slug: (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, ""),
  title: (text) => text.toLowerCase().replace(/\b\w/g, (letter) => letter.toUpperCase()),
  shout: (text) => `${text.toUpperCase()}!`,
};

export const incomingHandler = {
  handle(request, responseOut) {
    const path = request.pathWithQuery() ?? "/";
    console.log(`GET ${path}`);
    const [status, answer] = shout(new URL(path, "http://shout.invalid"));
    respond(responseOut, status, answer);
  },
};

function shout(url) {
  const style = styles[url.pathname.slice(1)];
  if (!style) {
    const known = Object.keys(styles).map((name) => `/${name}?text=...`);
    return [404, { error: `no style ${url.pathname}`, known }];
  }
  const text = url.searchParams.get("text") ?? "";
  return [200, { text, result: style(text) }];
}

function respond(responseOut, status, answer) {
  const headers = Fields.fromList([["content-type", new TextEncoder().encode("application/json")]]);
  const response = new OutgoingResponse(headers);
  response.setStatusCode(status);
  const body = response.body();
  ResponseOutparam.set(responseOut, { tag: "ok", val: response });
  const stream = body.write();
  stream.blockingWriteAndFlush(new TextEncoder().encode(`${JSON.stringify(answer)}\n`));
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}
