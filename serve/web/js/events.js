// Server-sent events of a streamed completion, as objects.
import { Refusal } from "./words.js";

/** Yields every event's JSON until [DONE]; an error inside the stream, or its early end, throws. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      let piece;
      try { piece = await reader.read(); } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Refusal(0, "The answer broke off.");
      }
      if (piece.done) throw new Refusal(502, "The answer broke off before its end.");
      rest += piece.value;
      const lines = rest.split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new Refusal(Number(event.error.status) || (event.error.type === "server_error" ? 500 : 400), event.error.message, { code: event.error.code });
        yield event;
      }
    }
  } finally { reader.cancel().catch(() => {}); }
}
