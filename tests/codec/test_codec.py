"""Every codec of the folder on noise: the contract, its folder on disk, its errors."""

import json

import numpy as np
import pytest
import torch

from tdmm_lm import codec, config, streaming

FEATURES = 10
NETWORK = {"groups": {"one": [7, 5], "two": [3, 3]}, "width": 8, "code_dim": 8}
SMALL = {
    "vq": {**NETWORK, "codebook_size": 16},
    "rvq": {**NETWORK, "codebook_size": 16, "books": 3, "dropout": False},
    "fsq": {**NETWORK, "levels": [4, 4]},
}


def small(name: str, seed: int = 0, **changes: object) -> codec.Codec:
    """A codec of the file, started on noise."""
    assert name in SMALL, f"tests/codec: say in SMALL how a small {name} is built"
    torch.manual_seed(seed)
    model = config.find("codec", name).build({**SMALL[name], **changes})
    x = torch.randn(8, 24, FEATURES)
    model.fit(x.flatten(0, 1), {key: torch.eye(size) for key, (size, _) in model.settings.groups.items()})
    model.start(model.project(x))
    if name == "fsq":  # rounds to few levels what was made to lie between -1 and 1: take the first two components there
        with torch.no_grad():
            model.quantizer.project_in.weight.copy_(torch.eye(2, 8))
            model.quantizer.project_in.bias.zero_()
            model.quantizer.project_out.weight.copy_(torch.eye(8, 2))
            model.quantizer.project_out.bias.zero_()
    return model.eval()


@pytest.fixture(params=config.known("codec"))
def model(request: pytest.FixtureRequest) -> codec.Codec:
    return small(request.param)


def test_contract(model: codec.Codec) -> None:
    assert isinstance(model, codec.Codec)
    assert model.features == FEATURES
    assert model.code_fps == 25
    x = torch.randn(3, 21, FEATURES)
    with torch.no_grad():
        codes = model.encode(x)
        again = model.decode(codes)
    assert codes.shape == (3, 21, model.books)
    assert codes.dtype == torch.int64
    assert 0 <= int(codes.min()) <= int(codes.max()) < model.codebook_size
    assert len(codes.unique()) > 1
    assert again.shape == x.shape
    assert torch.isfinite(again).all()
    assert model.codebook().shape[:2] == (model.books, model.codebook_size)


def test_codes_say_something(model: codec.Codec) -> None:
    x = torch.randn(8, 40, FEATURES)
    with torch.no_grad():
        error = (model.decode(model.encode(x)) - x).square().mean()
    assert error < 0.9 * x.square().mean()


@pytest.mark.parametrize("name", ["vq", "rvq"])
def test_readings_agree_on_codes(name: str) -> None:
    """There is something to learn where readings have another code or nearly so, and nothing where it is clear."""
    model = small(name)
    z = model.project(torch.randn(4, 20, FEATURES))
    read = z + 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        codes = [torch.cdist(model.encoder(x), model.codebook()[0]).argmin(-1) for x in (z, read)]
    same = codes[0] == codes[1]
    assert 0.1 < float(same.float().mean()) < 0.9
    latent = model.encoder(read).detach().requires_grad_()
    plain = model.encoder.forward
    model.encoder.forward = lambda x: plain(x) if x is z else latent  # type: ignore[method-assign]
    (pull,) = torch.autograd.grad(model(read, z)[2]["agreement"], latent)
    two = torch.cdist(latent, model.codebook()[0]).square().topk(2, largest=False).values / latent.shape[-1]
    clear = same & (two[..., 1] - two[..., 0] > codec.MARGIN)
    assert 0 < clear.sum() < same.sum()
    torch.testing.assert_close(pull.abs().sum(-1) > 0, ~clear)
    step = latent - 0.1 * latent.numel() * pull
    nearer = (latent - model.codebook()[0][codes[0]]).norm(dim=-1) > (step - model.codebook()[0][codes[0]]).norm(dim=-1)
    assert nearer[~same].float().mean() > 0.9


def test_clips_do_not_depend_on_their_batch(model: codec.Codec) -> None:
    x = torch.randn(3, 30, FEATURES)
    with torch.no_grad():
        assert torch.equal(model.encode(x)[1:2], model.encode(x[1:2]))


def test_one_frame(model: codec.Codec) -> None:
    with torch.no_grad():
        codes = model.encode(torch.randn(1, 1, FEATURES))
        assert codes.shape == (1, 1, model.books)
        assert model.decode(codes).shape == (1, 1, FEATURES)


@pytest.mark.parametrize(("wrong", "said"), [(-1, "got -1"), (16, "got 16")])
def test_codes_out_of_range(model: codec.Codec, wrong: int, said: str) -> None:
    codes = torch.zeros(1, 3, model.books, dtype=torch.int64)
    codes[0, 1] = wrong
    with pytest.raises(ValueError, match=f"codes: expected 0 to 15, {said}"):
        model.decode(codes)


def test_codes_of_another_kind(model: codec.Codec) -> None:
    books = model.books
    with pytest.raises(ValueError, match=rf"expected int64 \(batch, frames, {books}\), got float32 \(1, 3, 1\)"):
        model.decode(torch.zeros(1, 3, 1))
    with pytest.raises(ValueError, match=r"got int64 \(1, 3\)"):
        model.decode(torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected at least one frame"):
        model.decode(torch.zeros(1, 0, model.books, dtype=torch.int64))


@pytest.mark.parametrize("strides", [(2,), (2, 2), (3, 2)])
@pytest.mark.parametrize("name", config.known("codec"))
def test_strides(name: str, strides: tuple[int, ...]) -> None:
    """They make one code of so many frames; a last code that lacks frames repeats the last one."""
    model = small(name, strides=strides)
    whole = int(np.prod(strides))
    assert (model.frames_per_code, model.code_fps) == (whole, 25 / whole)
    x = torch.randn(2, 4 * whole + 1, FEATURES)
    with torch.no_grad():
        codes = model.encode(x)
        assert codes.shape == (2, 5, model.books)
        assert model.decode(codes).shape == (2, 5 * whole, FEATURES)
        filled = torch.cat([x, x[:, -1:].expand(-1, whole - 1, -1)], 1)
        assert torch.equal(codes, model.encode(filled))


def test_untrained_strides_hold_windows() -> None:
    """Slow motion in two directions: straight lines alone, one code vector for four frames, bring most of it back."""
    torch.manual_seed(0)
    t = torch.arange(400) / 20
    x = torch.stack([t.sin(), (0.7 * t).cos()], -1) @ torch.randn(2, FEATURES)
    model = config.find("codec", "vq").build({**SMALL["vq"], "strides": [2, 2], "codebook_size": 64})
    model.fit(x, {"one": torch.eye(7), "two": torch.eye(3)})
    model.start(model.project(x).unflatten(0, (10, 40)))
    model.eval()
    with torch.no_grad():
        error = (model.decode(model.encode(x[None]))[0] - x).square().mean()
    assert error < 0.1 * x.var(0).mean()


def test_first_books_alone() -> None:
    """Of residual books the first ones decode too, each more bringing it closer."""
    model = small("rvq")
    x = torch.randn(8, 40, FEATURES)
    with torch.no_grad():
        z = model.encoder(model.project(x))
        codes = model.quantizer.codes(z)
        away = [float((model.quantizer.vectors(codes[..., :n]) - z).square().mean()) for n in (1, 2, 3)]
    assert away[0] > away[1] > away[2]


def test_books_are_searched_together() -> None:
    """A search that keeps several sums comes nearer than the nearest code of each book in turn does."""
    z = torch.randn(4, 50, 8)
    away = {}
    for beams in (1, 2, 8, 10_000):
        quantizer = small("rvq", beams=beams).quantizer
        with torch.no_grad():
            codes = quantizer.codes(z)
            away[beams] = (quantizer.vectors(codes) - z).norm(dim=-1)
        assert codes.shape == (4, 50, 3)
        assert 0 <= int(codes.min()) <= int(codes.max()) < 16
    assert away[1].mean() > away[2].mean() > away[8].mean()
    sums = quantizer.all_vectors()  # with so many beams it is the nearest of all sums there are
    every = (sums[0][:, None, None] + sums[1][:, None] + sums[2]).flatten(0, 2)
    torch.testing.assert_close(away[10_000], torch.cdist(z, every[None]).amin(-1))


def test_folder(model: codec.Codec, tmp_path) -> None:
    codec.save(model, tmp_path / "a")
    again = codec.load(tmp_path / "a")
    assert not again.training
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]
    for (name, one), (other_name, other) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other_name
        assert torch.equal(one, other), name
    x = torch.randn(2, 9, FEATURES)
    with torch.no_grad():
        assert torch.equal(model.encode(x), again.encode(x))
    codec.save(again, tmp_path / "b")
    assert codec.weights_sha256(tmp_path / "a") == codec.weights_sha256(tmp_path / "b")
    assert len(codec.weights_sha256(tmp_path / "a")) == 64


def test_half_precision_on_disk(tmp_path) -> None:
    """Half the size, and what is loaded is in float32, rounded where it was learnt and nowhere else."""
    model = wide_awake("vq", stored="float16", width=32)
    codec.save(model, tmp_path / "half")
    again = codec.load(tmp_path / "half")
    for name, one in model.state_dict().items():
        assert again.state_dict()[name].dtype == one.dtype
        rounded = one.half().float() if name.startswith(("encoder.", "decoder.")) else one
        assert torch.equal(again.state_dict()[name], rounded), name
    codec.save(again, tmp_path / "again")
    assert codec.weights_sha256(tmp_path / "half") == codec.weights_sha256(tmp_path / "again")
    codec.save(wide_awake("vq", width=32), tmp_path / "whole")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]


def test_weights_are_loaded_strictly(model: codec.Codec, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    codec.save(model, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"expected this codec.s weights; .*Missing key"):
        codec.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="expected this codec's weights"):
        codec.load(tmp_path)


def test_config_is_checked(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a codec.s folder with config\.json"):
        codec.load(tmp_path)
    codec.save(small("vq"), tmp_path)
    good = json.loads((tmp_path / "config.json").read_text())

    def said(changed: object) -> str:
        (tmp_path / "config.json").write_text(changed if isinstance(changed, str) else json.dumps(changed))
        with pytest.raises(ValueError, match=r"config\.json|codec\.model") as error:
            codec.load(tmp_path)
        return str(error.value)

    assert "expected JSON" in said("{")
    assert "expected the keys model, name, sha256, version" in said({})
    assert "expected version 2, got 3" in said({**good, "version": 3})
    assert "name: expected one of" in said({**good, "name": "os.path"})  # never imported
    assert "unknown key" in said({**good, "model": {**good["model"], "depth": 3}})
    assert "codebook_size" in said({**good, "model": {**good["model"], "codebook_size": "many"}})
    assert "strides: expected whole numbers of 1 or more" in said({**good, "model": {**good["model"], "strides": [0]}})


def test_config_and_weights_belong_together(tmp_path) -> None:
    """Another codec's weights of the same shape are refused, and a config of other sizes too."""
    for seed, name in enumerate(("one", "other")):
        codec.save(small("vq", seed), tmp_path / name)
    (tmp_path / "one" / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"expected the weights that config\.json names \(sha256 \w{12}\.\.\.\), got"):
        codec.load(tmp_path / "one")
    described = json.loads((tmp_path / "other" / "config.json").read_text())
    described["model"]["width"] = 9
    (tmp_path / "other" / "config.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"expected this codec.s weights; .*size mismatch"):
        codec.load(tmp_path / "other")


def test_more_components_than_features() -> None:
    with pytest.raises(ValueError, match=r"codec\.groups\.a: expected 1 to 3 components, got 4"):
        config.find("codec", "vq").build({"groups": {"a": [3, 4]}})


def test_the_linear_map_and_its_inverse() -> None:
    model = config.find("codec", "vq").build({"groups": {"a": [6, 2], "b": [2, 2]}, "width": 4, "code_dim": 4})
    x = torch.randn(200, 2) @ torch.randn(2, 6)  # a plane in six dimensions
    x = torch.cat([x, torch.randn(200, 2)], 1) + 3
    metric = torch.randn(9, 6)
    held = model.fit(x, {"a": metric, "b": 5 * torch.eye(2)})
    assert held["a"] == pytest.approx(1, abs=1e-4)
    z = model.project(x)
    assert torch.allclose(model.restore(z), x, atol=1e-3)
    # distance among the components is the weighted error, up to one scale for all
    gap = (x[:100] - x[100:]).double()
    weighed = ((gap[:, :6] @ metric.double().T).square().sum(1) + 25 * gap[:, 6:].square().sum(1)).sqrt()
    ratio = (z[:100] - z[100:]).norm(dim=1).double() / weighed
    assert float(ratio.std() / ratio.mean()) < 1e-3


def test_untrained_is_a_quantizer_of_frames() -> None:
    model = small("vq")
    x = torch.randn(1, 12, FEATURES)
    with torch.no_grad():
        assert torch.equal(model.encode(x.flip(1)), model.encode(x).flip(1))


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("strides", [(1,), (2, 2), (3,)])
def test_how_far_the_decoder_sees(ahead: bool, strides: tuple[int, ...]) -> None:
    """A code changes frames as far as `sight` says and no farther."""
    model = wide_awake("vq", strides=strides, dilations=[1, 2], look_ahead=ahead)
    codes = torch.zeros(1, 40, 1, dtype=torch.int64)
    changed = codes.clone()
    changed[0, 20] = 3
    with torch.no_grad():
        moved = (model.decode(codes) != model.decode(changed)).any(-1)[0].nonzero().flatten() // model.frames_per_code
    before, after = model.sight["decoding"]
    assert 20 - after <= int(moved.min()) <= int(moved.max()) <= 20 + before
    assert ahead or int(moved.min()) == 20
    if strides == (1,):  # first convolution and blocks
        assert (int(moved.min()), int(moved.max())) == ((16, 24) if ahead else (20, 28))


def wide_awake(name: str, **changes: object) -> codec.Codec:
    """A codec whose convolutions say something: at the start they are silent."""
    model = small(name, **changes)
    for network in (model.encoder, model.decoder):
        torch.nn.init.normal_(network.last.weight, std=0.3)
    return model


@pytest.mark.parametrize("strides", [(1,), (2, 2), (2, 3)])
@pytest.mark.parametrize("name", config.known("codec"))
@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_chunks_say_the_same_as_the_whole(name: str, strides: tuple[int, ...], chunk: int) -> None:
    """Encoding and decoding bit by bit: the same codes, the same features, no later than the look-ahead says."""
    model = wide_awake(name, strides=strides)
    x = torch.randn(101, FEATURES)
    with torch.no_grad():
        codes = model.encode(x[None])
        whole = model.decode(codes)[0].numpy()
    coder, made = streaming.Encoding(model), []
    for start in range(0, len(x), chunk):
        made.append(coder(x[start : start + chunk].numpy()))
        given = sum(map(len, made))
        assert given >= min(len(x), start + chunk) // model.frames_per_code - model.look_ahead[0]
    made.append(coder.finish())
    assert np.array_equal(np.concatenate(made), codes[0].numpy())
    decoder, made = streaming.Decoding(model), []
    for start in range(0, codes.shape[1], chunk):
        made.append(decoder(codes[0, start : start + chunk].numpy()))
    made.append(decoder.finish())
    assert np.abs(np.concatenate(made) - whole).max() < 1e-5


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("strides", [(1,), (2, 3)])
def test_streams_that_are_decoded_together_keep_apart(strides: tuple[int, ...], ahead: bool) -> None:
    """Some have just begun, some end, some have nothing new: each says what it says alone."""
    model = wide_awake("vq", strides=strides, look_ahead=ahead)
    random = np.random.default_rng(0)
    motions = [random.integers(0, 16, (int(length), 1)) for length in (0, 1, 2, 9, 33, 60, 61, 90)]
    first = streaming.Decoding(model)
    streams = [first, *(streaming.Decoding(model, first.flow) for _ in motions[1:])]
    made: list[list[np.ndarray]] = [[] for _ in motions]
    at, ended = [0] * len(motions), [False] * len(motions)
    while not all(ended):
        chosen = [i for i in range(len(motions)) if not ended[i] and random.random() < 0.5]
        for i in chosen:
            step = int(random.integers(0, 20))
            streams[i].add(motions[i][at[i] : at[i] + step])
            at[i] += step
            if at[i] >= len(motions[i]):
                streams[i].end()
                ended[i] = True
        expected = [streams[i].ready * model.frames_per_code for i in chosen]
        rows = streaming.decode([streams[i] for i in chosen])
        assert [len(part) for part in rows] == expected
        for i, part in zip(chosen, rows):
            made[i].append(part)
    for codes, parts in zip(motions[1:], made[1:]):
        with torch.no_grad():
            whole = model.decode(torch.from_numpy(codes)[None])[0].numpy()
        assert np.abs(np.concatenate(parts) - whole).max() < 1e-5
    assert not any(map(len, made[0]))


def test_streams_are_checked() -> None:
    model = small("vq")
    with pytest.raises(ValueError, match=r"stream: expected rows of 10 features, got \(3, 4\)"):
        streaming.Encoding(model)(np.zeros((3, 4), np.float32))
    decoder = streaming.Decoding(model)
    with pytest.raises(ValueError, match="codes: expected 0 to 15, got 16"):
        decoder(np.full((1, 1), 16))
    assert len(decoder.finish()) == 0
    with pytest.raises(ValueError, match="expected nothing after finish"):
        decoder(np.zeros((1, 1), int))
