// Errors in words: what happened, and what one can do about it.

/** A refusal of the server, or no answer at all (status 0). */
export class Refusal extends Error {
  constructor(status, message, { code = null, wait = null } = {}) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

/** {title, text, wait}: `wait` is in seconds, null where waiting does not help. */
export function words(error) {
  if (!(error instanceof Refusal)) return { title: "The page met an error.", text: String(error.message ?? error), wait: null };
  const said = error.message;
  switch (error.status) {
    case 0: return { title: "The server cannot be reached.", text: `Nothing answers at ${location.host}. Is it running, and is this machine online?`, wait: null };
    case 401: return { title: "This server wants an API key.", text: `Enter yours under Key, top right, and send again. ${said}`, wait: null };
    case 403: return { title: "This key may not do that.", text: said, wait: null };
    case 404: return { title: "That is not there (any more).", text: said, wait: null };
    case 413: return { title: "That is too large for this server.", text: said, wait: null };
    case 415: case 422: return { title: "That file could not be read.", text: said, wait: null };
    case 429: return { title: "Too many requests.", text: said, wait: error.wait ?? 5 };
    case 503: return { title: error.wait ? "The server is busy." : "The server cannot do that.", text: said, wait: error.wait };
    case 507: return { title: "Your space on the server is full.", text: said, wait: null };
  }
  if (error.status >= 500) return { title: `The server had an error (${error.status}).`, text: said, wait: error.wait };
  return { title: "The server refused that.", text: said, wait: null };
}
