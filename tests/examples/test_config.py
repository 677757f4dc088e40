"""The configuration of examples/mdpr: presets, feature names, flags."""

import dataclasses

import pytest

from config import PRESETS, MDPRConfig, from_dict, parse


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
    with pytest.raises(ValueError, match="divide the 24 rows of the last map"):
        MDPRConfig(num_parts=5)


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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--num-maps two", "invalid int value"),
        ("--nummaps 2", "unrecognized arguments"),
        ("--branches three", "invalid choice"),
        ("--num-parts 0", "num_parts must be at least 1"),
        ("--preset market", "invalid choice"),
    ],
)
def test_bad_flags_are_explained(
    flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(flags.split())
    assert message in capsys.readouterr().err


def test_a_configuration_reads_back() -> None:
    config = dataclasses.replace(PRESETS["synthetic"], features=("hard", "soft_g4"))
    assert from_dict(dataclasses.asdict(config)) == config
    with pytest.raises(ValueError, match="unknown fields in the configuration: colour"):
        from_dict({**dataclasses.asdict(config), "colour": 1})
