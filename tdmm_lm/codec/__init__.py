"""Motion <-> codes. The contract is `Codec`; every other file is one quantizer with a final ``Model(Codec)``."""
