"""The configuration of examples/mdpr: presets, feature names, flags."""

import dataclasses
import io
import json
import sys
from pathlib import Path

import pytest
import torch

from build import build_model
from commands import parse, refuse_unused, without_effect
from config import PRESETS, MDPRConfig, from_dict
from criterion import Criterion


def test_presets_are_the_papers() -> None:
    market, duke, synergy = (PRESETS[name] for name in ("market1501", "dukemtmc", "synergyreid"))
    assert market.backbone == "resnet101_ibn"
    assert (market.height, market.width) == (384, 192)
    assert (market.embed_dim, market.num_maps, market.num_parts) == (512, 2, 2)
    assert (market.identities, market.images) == (16, 16)
    assert (market.flip, market.erase, market.patch) == (0.5, 0.5, 0.5)
    assert (market.first_lr, market.lr, market.weight_decay) == (3.5e-5, 3.5e-4, 5e-4)
    assert (market.circle_margin, market.circle_gamma) == (0.35, 64)
    assert (market.triplet_margin, market.beta) == (0.05, 0.001)
    assert (market.epochs, market.warmup_steps) == (60, 2000)
    # The one difference, which is the released code's
    assert {preset.circle for preset in PRESETS.values()} == {"class"}
    assert dataclasses.replace(duke, dataset="market1501") == market
    assert (synergy.epochs, synergy.warmup_steps) == (40, 200)


def test_features_of_table_one() -> None:
    names = ("hard_g5", "hard_p1", "hard_p2", "soft_g5", "soft_g4", "fusion")
    assert MDPRConfig().feature_names() == names
    assert MDPRConfig(num_parts=3).feature_names(["hard"]) == (
        "hard_g5", "hard_p1", "hard_p2", "hard_p3",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "wanted", "names"),
    [
        (MDPRConfig(branches="hard"), None, ("hard_g5", "hard_p1", "hard_p2")),
        (MDPRConfig(branches="soft"), None, ("soft_g5", "soft_g4")),
        (MDPRConfig(fusion=False), ["soft", "fusion"], ("soft_g5", "soft_g4")),
        (MDPRConfig(), ["soft_g4", "soft"], ("soft_g4", "soft_g5")),
        (MDPRConfig(), ["fusion"], ("fusion",)),
    ],
)
def test_feature_names(
    config: MDPRConfig, wanted: list[str] | None, names: tuple[str, ...]
) -> None:
    assert config.feature_names(wanted) == names


def test_a_feature_the_network_has_not_is_named() -> None:
    with pytest.raises(ValueError, match="unknown feature 'hard_p3'; this network has hard_g5"):
        MDPRConfig(features=("hard_p3",))
    with pytest.raises(ValueError, match="none of the features"):
        MDPRConfig(branches="hard", features=("fusion",))


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="num_maps must be at least 1, got 0"):
        MDPRConfig(num_maps=0)
    with pytest.raises(ValueError, match="images must be at least 2"):
        MDPRConfig(images=1)
    with pytest.raises(ValueError, match="erase must be from 0 to 1, got 2"):
        MDPRConfig(erase=2)
    with pytest.raises(ValueError, match="lr must be above 0, got -1"):
        MDPRConfig(lr=-1)
    with pytest.raises(ValueError, match="workers must be at least 0"):
        MDPRConfig(workers=-1)


def test_words_that_are_no_choice_are_refused() -> None:
    with pytest.raises(ValueError, match="network must be one of mdpr, bnneck, pcb, mgn, got pbc"):
        MDPRConfig(network="pbc")
    with pytest.raises(ValueError, match=r"precision must be one of .*, got bf16"):
        from_dict({"precision": "bf16"})


def test_flags_change_fields_of_the_preset() -> None:
    flags = "--preset synergyreid --no-guidance --triplet-margin none --features soft_g4 hard"
    config, options = parse([*flags.split(), "--beta", "0.1"], out={"default": "here"})
    assert config == dataclasses.replace(
        PRESETS["synergyreid"],
        guidance=False,
        triplet_margin=None,
        features=("soft_g4", "hard"),
        beta=0.1,
    )
    assert options["out"] == "here"
    assert set(options["changed"]) == {"preset", "guidance", "triplet_margin", "features", "beta"}


def test_a_file_comes_between_preset_and_flags(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text('{"epochs": 7, "lr": 1, "features": ["hard"], "triplet_margin": null}')
    config, options = parse(["--config", str(file), "--preset", "synergyreid", "--epochs", "9"])
    assert config == dataclasses.replace(
        PRESETS["synergyreid"], epochs=9, lr=1, features=("hard",), triplet_margin=None
    )
    assert {"preset", "epochs", "lr", "features"} <= set(options["changed"])
    file.write_text(json.dumps(dataclasses.asdict(config)))  # as a run's config.json
    again, options = parse(["--config", str(file)])
    assert again == config
    assert options["changed"] == dataclasses.asdict(config)  # so that --resume compares like types


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"epoch": 7}', "unknown fields in the configuration: epoch; is epochs meant?"),
        ('{"epochs": 7.5}', "mine.json: argument --epochs: invalid int value: '7.5'"),
        ('{"epochs": true}', "argument --epochs: expected one argument"),
        ('{"lr": "high"}', "argument --lr: invalid float value: 'high'"),
        ('{"guidance": 1}', "argument --guidance/--no-guidance: ignored explicit argument '1'"),
        ('{"data_root": null}', "mine.json: data_root must not be null"),
        ('{"features": []}', "argument --features: expected at least one argument"),
        (
            '{"triplet_margin": "no"}',
            "argument --triplet-margin: invalid number_or_none value: 'no'",
        ),
        ('{"circle": "triple"}', "argument --circle: invalid choice: 'triple'"),
        ('{"epochs": 0}', "mine.json: epochs must be at least 1"),
        ('{"epochs": ', "mine.json, which should hold JSON"),
        ("[1]", "must hold an object"),
    ],
)
def test_a_bad_file_is_explained(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(content)
    with pytest.raises(ValueError) as refused:  # noqa: PT011 its message is looked at
        parse(["--config", str(file)])
    assert message in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-8"])
def test_a_file_as_windows_editors_write_it(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes('{"data_root": "Künstler"}\r\n'.encode(encoding))
    assert parse(["--config", str(tmp_path / "mine.json")])[0].data_root == "Künstler"


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ("--network bnneck --num-maps 4", "--num-maps has no effect, as the network is the basel"),
        ("--network bnneck --embed-dim 64", "--embed-dim has no effect, as bnneck's embedding is"),
        ("--network mgn --num-parts 2", "--num-parts has no effect"),
        ("--network pcb --features hard", "--features has no effect"),
        ("--network pcb --checkpoint-branches", "--checkpoint-branches has no effect"),
        ("--branches hard --beta 0.1", "--beta has no effect, as the soft branch is not built"),
        ("--branches hard --separate-networks", "--separate-networks has no effect"),
        ("--branches soft --num-parts 3", "--num-parts has no effect, as the hard branch is not"),
        ("--branches soft --fusion", "--fusion has no effect"),
        (
            "--circle pair --label-smoothing 0.2",
            "--label-smoothing has no effect, as the circle loss is over pa",
        ),
        ("--no-fusion --features hard fusion", "none of the features"),
        ("--network pcb --num-parts 4 --no-fusion --embed-dim 64", ""),
        ("--branches hard --no-distillation --no-guidance", ""),
        ("--label-smoothing 0.2 --cache --workers 0", ""),
        ("--features hard fusion --beta 0", ""),
    ],
)
def test_a_flag_that_changes_nothing_is_refused(flags: str, refused: str) -> None:
    config, options = parse(flags.split())
    if refused:
        with pytest.raises(ValueError, match=refused):
            refuse_unused(config, options["flags"])
    else:
        refuse_unused(config, options["flags"])


@pytest.mark.parametrize(
    "settings",
    [{"network": "bnneck"}, {"network": "pcb"}, {"network": "mgn"}, {"branches": "hard"},
     {"branches": "soft"}, {"circle": "pair"}],
)  # fmt: skip
def test_what_is_said_to_change_nothing_changes_nothing(settings: dict[str, object]) -> None:
    """Neither the loss of a batch, nor the embedding's and the network's size."""
    base = dataclasses.replace(PRESETS["synthetic"], height=64, width=16, embed_dim=4, **settings)
    other = {
        "num_maps": 4, "guidance": False, "refine4": "conv", "attention4": "raw", "beta": 0.5,
        "diversity": "maps", "background_bias": None,
        "shared_pool": True, "fusion": False, "distillation": False, "separate_networks": True,
        "num_parts": 1, "features": ("hard", "soft"), "checkpoint_branches": True, "embed_dim": 8,
        "label_smoothing": 0.3, "branches": "hard",
    }  # fmt: skip
    images, labels = torch.rand(4, 3, 64, 16), torch.tensor([0, 0, 1, 1])

    def outcome(config: MDPRConfig) -> tuple[int, torch.Size, float]:
        torch.manual_seed(0)
        model = build_model(config)
        terms = Criterion(config, model.sizes, 2)(model(images), labels)
        loss = float(sum(terms.values()).detach())
        parameters = sum(p.numel() for p in model.parameters())
        return parameters, model.eval().embed(images).shape, loss

    expected = outcome(base)
    unused = without_effect(base)
    assert unused
    for name in unused:
        assert outcome(dataclasses.replace(base, **{name: other[name]})) == expected, name


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        parse(["--config", str(tmp_path / "gone.json")])


def test_help_says_of_every_field_what_it_is_by_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(MDPRConfig):
        assert f"--{field.name.replace('_', '-')}" in text
        assert f"{field.metadata['told']}; default " in text
    assert "K, attention maps of a stage; default 2" in text
    assert "the maps A5 of stage 5 guide the maps A4 of stage 4; default yes" in text
    assert "backbone's learning rate over the heads'; default 1.0" in text
    assert "defaults below are the preset market1501" in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_is_printed_where_the_terminal_lacks_its_signs(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with pytest.raises(SystemExit):
        parse(["--help"])
    sys.stdout.flush()
    assert "?, scale of Eq. 5" in " ".join(written.getvalue().decode(encoding).split())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--ema 1", "--ema must be at least 0 and below 1"),
        ("--clip-grad 0", "--clip-grad must be above 0, or none"),
        ("--keep-checkpoints 0", "--keep-checkpoints must be at least 1"),
        ("--num-maps two", "invalid int value"),
        ("--nummaps 2", "unknown: --nummaps 2; is --num-maps meant?"),
        ("--colour 2", "unknown: --colour 2\n"),
        ("--batch-size 3", "unknown: --batch-size 3\n"),
        ("--no-picture", "unknown: --no-picture; is --no-pictures meant?"),
        ("--no-cach", "unknown: --no-cach; is --no-cache meant?"),
        ("--no-colour", "unknown: --no-colour\n"),
        ("--epoch=3", "unknown: --epoch=3; is --epochs meant?"),
        ("--fusion no", "unknown: no\n"),
        ("--ema much", "argument --ema: invalid number_or_none value: 'much'"),
        ("--branches three", "invalid choice"),
        ("--num-parts 0", "--num-parts must be at least 1"),
        ("--preset market", "invalid choice"),
    ],
)
def test_bad_flags_are_explained(flags: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 its message is looked at
        parse(flags.split())
    assert message in f"{refused.value}\n"


def test_a_configuration_reads_back() -> None:
    config = dataclasses.replace(PRESETS["synthetic"], features=("hard", "soft_g4"))
    assert from_dict(dataclasses.asdict(config)) == config
    with pytest.raises(ValueError, match="unknown fields in the configuration: colour"):
        from_dict({**dataclasses.asdict(config), "colour": 1})
