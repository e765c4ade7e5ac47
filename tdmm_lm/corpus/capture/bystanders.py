"""Who is in a picture beside the tracked face: MediaPipe's detector on the whole picture and on its two ends."""

import zipfile
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float, UInt8

from tdmm_lm import quiet

DETECTOR = "face_detector.tflite"  # inside the landmarker's file, which is a zip
SAME = 0.1  # overlap from which the detector's box and the tracker's are one face's; parts of a face cut off count too


def overlap(one: Float[np.ndarray, " 4"], other: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / max(float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared, 1e-9)


class Finder:
    """MediaPipe's face detector, which lies inside the landmarker's file; use it as a context."""

    def __init__(self, model: Path) -> None:
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        with zipfile.ZipFile(model) as file:
            bytes_ = file.read(DETECTOR)
        self._image, self._format = mediapipe.Image, mediapipe.ImageFormat.SRGB
        options = vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_buffer=bytes_))
        with quiet.stderr():
            self._network = vision.FaceDetector.create_from_options(options)

    def __enter__(self) -> "Finder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with quiet.stderr():
            self._network.close()

    def boxes(self, frame: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "faces 5"]:
        """Left, top, right, bottom of every face in pixels, and how sure the network is, 0 to 1."""
        image = self._image(image_format=self._format, data=np.ascontiguousarray(frame))
        with quiet.stderr():  # one line, where a picture happens to lie at an odd address
            found = self._network.detect(image)
        rows = []
        for face in found.detections:
            box = face.bounding_box
            right, bottom = box.origin_x + box.width, box.origin_y + box.height
            rows.append((box.origin_x, box.origin_y, right, bottom, face.categories[0].score))
        return np.array(rows, np.float32).reshape(-1, 5)

    def __call__(
        self, frame: UInt8[np.ndarray, "height width 3"], tracked: Float[np.ndarray, " 4"]
    ) -> tuple[Float[np.ndarray, " 5"] | None, float]:
        """The tracked face's row of `boxes` (None: the network sees none there); the widest other face, in widths of
        the tracked one. Others are found down to a tenth of the picture's shorter side."""
        first, widest = None, 0.0
        width = float(tracked[2] - tracked[0])
        for box in self.boxes(frame):
            if overlap(box[:4], tracked) > SAME:
                first = box
            else:
                widest = max(widest, float(box[2] - box[0]) / width)
        # the network sees 128 x 128 pixels: in squares of either end it finds faces that the whole makes too small
        side = min(frame.shape[:2])
        for corner in {(0, 0), (frame.shape[0] - side, frame.shape[1] - side)} if max(frame.shape[:2]) > side else ():
            top, left = corner
            for box in self.boxes(frame[top : top + side, left : left + side]):
                if overlap(box[:4] + np.array([left, top, left, top], np.float32), tracked) <= SAME:
                    widest = max(widest, float(box[2] - box[0]) / width)
        return first, widest
