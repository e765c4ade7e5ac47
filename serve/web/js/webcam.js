// Records the webcam into a WebM file, where the browser and the page's place (https or localhost) allow it.
import { $ } from "./dom.js";

const MOST_SECONDS = 30;

export function webcam(done) {
  if (!navigator.mediaDevices?.getUserMedia || !globalThis.MediaRecorder) return;
  const dialog = $("camera"), note = $("camera-note"), record = $("record"), preview = $("preview");
  let stream = null, recorder = null, timer = 0;
  $("webcam").hidden = false;

  const close = () => {
    clearInterval(timer);
    if (recorder?.state === "recording") { recorder.onstop = null; recorder.stop(); }
    stream?.getTracks().forEach((track) => track.stop());
    stream = recorder = preview.srcObject = null;
  };
  dialog.addEventListener("close", close);
  $("camera-close").addEventListener("click", () => dialog.close());
  $("webcam").addEventListener("click", async () => {
    record.disabled = true;
    record.textContent = "Record";
    note.textContent = "Asking for the camera…";
    dialog.showModal();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } }, audio: false });
      if (!dialog.open) return close();
      preview.srcObject = stream;
      await preview.play();
      note.textContent = `Face the camera. At most ${MOST_SECONDS} s.`;
      record.disabled = false;
    } catch (error) {
      note.textContent = { NotAllowedError: "The browser did not allow the camera. Allow it for this page and try again.", NotFoundError: "No camera was found." }[error.name] ?? `The camera did not start: ${error.message}`;
    }
  });
  record.addEventListener("click", () => {
    if (recorder) return recorder.stop();
    const type = ["video/webm;codecs=vp8", "video/webm", "video/mp4"].find((one) => MediaRecorder.isTypeSupported(one)) ?? "", parts = [], began = Date.now();
    recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
    recorder.ondataavailable = (event) => event.data.size && parts.push(event.data);
    recorder.onstop = () => {
      const kind = (recorder.mimeType || "video/webm").split(";")[0];
      dialog.close();
      done(new File(parts, `webcam.${kind === "video/mp4" ? "mp4" : "webm"}`, { type: kind }));
    };
    recorder.start(500);
    record.textContent = "Stop and use";
    timer = setInterval(() => {
      const seconds = (Date.now() - began) / 1000;
      note.textContent = `Recording: ${seconds.toFixed(0)} s`;
      if (seconds >= MOST_SECONDS) recorder?.stop();
    }, 250);
  });
}
