"""Codes that rigs confuse become one."""

import pytest
import torch

from tdmm_lm import codec, config
from tdmm_lm.train import merging


def network(name: str = "vq", **more: object) -> codec.Codec:
    torch.manual_seed(0)
    settings = {"groups": {"one": [6, 4]}, "width": 8, "dilations": [1], "code_dim": 4, "codebook_size": 8, **more}
    model = config.find("codec", name).build(settings).eval()
    if name == "vq":
        model.load_state_dict({**model.state_dict(), "quantizer._codebook.initted": torch.tensor(True)})
        model.codebook()[0].copy_(torch.arange(32.0).view(8, 4))
        model.quantizer._codebook.cluster_size.fill_(2.0)
    return model


def clips_where(model: codec.Codec, pairs: list[tuple[int, int]]) -> list[torch.Tensor]:
    """One clip of two readings that have these codes, frame by frame: the encoder passes on what it gets."""
    model.encoder.forward = lambda z: z
    return [model.codebook()[0][torch.tensor(pairs)]]  # (frames, 2, 4)


def test_the_most_confused_become_one() -> None:
    model = network()
    pairs = [(0, 0)] * 6 + [(2, 3)] * 9 + [(3, 3)] + [(5, 6)] * 2 + [(7, 7)]
    clips = clips_where(model, pairs)
    use, confused = merging.counted(model, clips)
    assert use.tolist() == [7, 1, 10, 2, 1, 3, 1, 2]
    assert confused[2, 3] == confused[3, 2] == 9
    assert confused[5, 6] == 2
    assert confused.diagonal().sum() == 0
    before = model.codebook()[0].clone()
    merged = merging.merge(model, clips, 1)
    assert merged.codebook_size == merged.settings.codebook_size == 7
    book = merged.codebook()[0]
    assert torch.equal(book[[0, 1, 3, 4, 5, 6]], before[[0, 1, 4, 5, 6, 7]])
    assert torch.allclose(book[2], (10 * before[2] + 2 * before[3]) / 12)
    assert torch.allclose(merged.quantizer._codebook.embed_avg, 2 * merged.codebook())


def test_distance_counts() -> None:
    """Two codes far apart are confused no less often, and stay two."""
    model = network()
    pairs = [(0, 7)] * 10 + [(7, 0)] * 10 + [(3, 4)] * 9 + [(4, 3)] * 9
    before = model.codebook()[0].clone()
    merged = merging.merge(model, clips_where(model, pairs), 1)
    assert torch.equal(merged.codebook()[0][[0, 1, 2, 4, 5, 6]], before[[0, 1, 2, 5, 6, 7]])


def test_a_merged_codec_is_a_codec(tmp_path) -> None:
    model = network()
    merged = merging.merge(model, [torch.randn(20, 3, 4)], 3)
    codec.save(merged, tmp_path)
    again = codec.load(tmp_path)
    x = torch.randn(1, 20, 6)
    assert torch.equal(again.encode(x), merged.encode(x))
    assert int(again.encode(x).max()) < 5
    assert again.decode(again.encode(x)).shape == x.shape


def test_what_cannot_merge() -> None:
    with pytest.raises(ValueError, match="merged: expected 1 to 6 of the codec's 8 codes to go, got 7"):
        merging.merge(network(), [], 7)
    for name, more in (("rvq", {"books": 2}), ("fsq", {"levels": [4, 4]})):
        settings = {"groups": {"one": [6, 4]}, "width": 8, "dilations": [1], "code_dim": 4, **more}
        with pytest.raises(ValueError, match="merged: expected a codec of one codebook of free vectors"):
            merging.merge(config.find("codec", name).build(settings), [], 1)
