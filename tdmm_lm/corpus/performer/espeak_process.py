"""Speak one sentence with libespeak-ng and write sound and events to stdout. Run by `voice`, never imported.

    echo "Hello." | python -I -S espeak_process.py LIBRARY DATA_FOLDER VOICE WORDS_PER_MINUTE PITCH

The library keeps pitch wobble and echo from one sentence to the next and offers nothing that resets them, and it seeds
its noise by the clock. A process of its own and a fixed seed make a sentence the same bytes at any time. Only the
standard library is used, so that it starts in a few milliseconds.
"""

import contextlib
import ctypes
import struct
import sys

# Names and values of speak_lib.h
SYNCHRONOUS, PHONEME_EVENTS, DONT_EXIT, UTF8 = 2, 0x0001, 0x8000, 1
RATE, PITCH = 1, 3
EVENT = struct.Struct("<iiii8s")  # type, sample, position and length in the text, a phoneme's name


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("position", ctypes.c_int), ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int), ("sample", ctypes.c_int), ("user", ctypes.c_void_p), ("id", _Id),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte), ("age", ctypes.c_ubyte), ("variant", ctypes.c_ubyte), ("x1", ctypes.c_ubyte),
        ("score", ctypes.c_int), ("spare", ctypes.c_void_p),
    ]


def choose(library: ctypes.CDLL, voice: str) -> None:
    """By the name of a voice, else by its language (``en-gb`` is the voice ``en``); a variant follows after ``+``."""
    base, _, variant = voice.partition("+")
    library.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
    if library.espeak_SetVoiceByName(base.encode()):
        wanted = _Voice(languages=base.encode())
        if library.espeak_SetVoiceByProperties(ctypes.byref(wanted)):
            sys.exit("no such voice")
    if not variant:
        return
    found = library.espeak_GetCurrentVoice()[0].identifier.decode().rsplit("/", 1)[-1]
    library.espeak_SetVoiceByName(f"{found}+{variant}".encode())
    # an unknown variant is no error to the library: it goes on without
    if not library.espeak_GetCurrentVoice()[0].identifier.decode().endswith(f"+{variant}"):
        sys.exit("no such variant")


def main() -> None:
    path, data, voice, rate, pitch = sys.argv[1:]
    library = ctypes.CDLL(path)
    hertz = library.espeak_Initialize(SYNCHRONOUS, 0, data.encode() or None, PHONEME_EVENTS | DONT_EXIT)
    if hertz <= 0:
        sys.exit("the library does not start")
    with contextlib.suppress(AttributeError):  # older versions draw no chance of their own
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # it has just seeded itself by the clock
    choose(library, voice)
    library.espeak_SetParameter(RATE, int(rate), 0)
    library.espeak_SetParameter(PITCH, int(pitch), 0)
    sound, events = bytearray(), bytearray()

    def hear(wave: ctypes.c_void_p | None, samples: int, event: "ctypes._Pointer[_Event]") -> int:
        if wave and samples:
            sound.extend(ctypes.string_at(wave, 2 * samples))
        i = 0
        while event[i].type:
            one = event[i]
            # c_char arrays end at the first zero byte, which is what a shorter name needs
            name = one.id.string if one.type == 7 else b""
            events.extend(EVENT.pack(one.type, one.sample, one.position, one.length, name))
            i += 1
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
    callback = kind(hear)
    library.espeak_SetSynthCallback(callback)
    text = sys.stdin.buffer.read()
    if library.espeak_Synth(text, len(text) + 1, 0, 1, 0, UTF8, None, None):
        sys.exit("it does not speak this text")
    library.espeak_Synchronize()
    sys.stdout.buffer.write(struct.pack("<ii", hertz, len(events) // EVENT.size) + events + sound)


if __name__ == "__main__":
    main()
