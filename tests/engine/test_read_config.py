import pytest
from detectron2.config import CfgNode

from segplugins.engine.read_config import (
    ConfigError,
    apply_settings,
    known_keys,
    option_settings,
    read_settings,
)


@pytest.fixture
def cfg():
    return CfgNode(
        {
            "SOLVER": {"BASE_LR": 0.1, "MAX_ITER": 10, "STEPS": (3,), "FACTOR": None},
            "TEST": {"EVAL": False, "NAMES": []},
            "OUTPUT_DIR": "out",
        }
    )


def from_file(cfg, tmp_path, text, name="a.yaml"):
    path = tmp_path / name
    path.write_text(text)
    apply_settings(cfg, read_settings(path))
    return cfg


def from_options(cfg, *options):
    apply_settings(cfg, option_settings(options))
    return cfg


def test_values_take_the_type_of_their_default(cfg, tmp_path):
    text = 'SOLVER: {BASE_LR: 1e-3, MAX_ITER: 20, STEPS: [1, 2], FACTOR: 2}\nOUTPUT_DIR: "2024"'
    solver = from_file(cfg, tmp_path, text).SOLVER
    # YAML reads 1e-3, which has no dot, as text.
    assert solver == {"BASE_LR": 0.001, "MAX_ITER": 20, "STEPS": (1, 2), "FACTOR": 2}
    assert cfg.OUTPUT_DIR == "2024"


def test_options_take_the_type_of_their_default(cfg):
    from_options(cfg, "SOLVER.BASE_LR", "2", "TEST.EVAL", "true", "OUTPUT_DIR", "2024")
    from_options(cfg, "TEST.NAMES", "['a','b']", "SOLVER.STEPS", "(5, 6)", "SOLVER.FACTOR", "0.5")
    assert cfg.SOLVER == {"BASE_LR": 2.0, "MAX_ITER": 10, "STEPS": (5, 6), "FACTOR": 0.5}
    assert isinstance(cfg.SOLVER.BASE_LR, float)
    assert cfg.TEST == {"EVAL": True, "NAMES": ["a", "b"]} and cfg.OUTPUT_DIR == "2024"


def test_a_file_wins_over_its_bases_and_a_later_base_over_an_earlier(cfg, tmp_path):
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "one.yaml").write_text("SOLVER: {BASE_LR: 1.0, MAX_ITER: 1}")
    (tmp_path / "bases" / "two.yaml").write_text(
        "_BASE_: three.yaml\nSOLVER: {BASE_LR: 2.0}"  # relative to its own folder
    )
    (tmp_path / "bases" / "three.yaml").write_text("OUTPUT_DIR: three\nSOLVER: {BASE_LR: 3.0}")
    text = "_BASE_: [bases/one.yaml, bases/two.yaml]\nSOLVER: {MAX_ITER: 7}"
    from_file(cfg, tmp_path, text)
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.OUTPUT_DIR) == (2.0, 7, "three")


@pytest.mark.parametrize(
    "text, message",
    [
        ("SOLVER:\n  BASE_LRR: 1.0", r"a.yaml line 2: unknown config key 'SOLVER.BASE_LRR'; "),
        ("SOLVER:\n  BASE_LRR: 1.0", r"the nearest known key is 'SOLVER.BASE_LR'"),
        ("SOLVR:\n  MAX_ITER: 1", r"'SOLVR.MAX_ITER'; the nearest known key is 'SOLVER.MAX_ITER'"),
        ("MAX_ITER: 1", r"line 1.*nearest known key is 'SOLVER.MAX_ITER'"),
        ("SOLVER: 3", r"line 1: 'SOLVER' is a section with the keys .*'BASE_LR'.*got 3"),
        ("SOLVER:\n  MAX_ITER: 2.5", r"line 2: SOLVER.MAX_ITER must be of type int .* got 2.5"),
        ("SOLVER: {BASE_LR: fast}", r"BASE_LR must be of type float like its default 0.1, got 'f"),
        ("SOLVER: {BASE_LR: null}", r"BASE_LR must be of type float .* got None"),
        ("SOLVER: {STEPS: x}", r"STEPS must be of type tuple .* got 'x'; write \"\('x',\)\""),
        ("OUTPUT_DIR: 2024", r"OUTPUT_DIR must be of type str like its default 'out', got 2024"),
        ("OUTPUT_DIR: a\nOUTPUT_DIR: b", r"line 2: 'OUTPUT_DIR' stands twice, first in line 1"),
        ("SOLVER:\n  MAX_ITER: 1\n  MAX_ITER: 2", r"line 3: 'SOLVER.MAX_ITER' stands twice"),
        ("- a\n- b", r"a.yaml' must hold KEY: value, not a list"),
        ("1: a", r"line 1: '1' is no config key"),
        ("OUTPUT_DIR: [", r"a.yaml' is not readable: .*line 1"),
        ("SOLVER: &s {MAX_ITER: 1}\nTEST: *s", r"cannot be repeated by an anchor"),
        ("_BASE_: a.yaml", r"is its own _BASE_: a.yaml -> a.yaml"),
        ("_BASE_: none.yaml", r"no config file '.*none.yaml'; it is the _BASE_ of '.*a.yaml'"),
    ],
)
def test_a_mistake_in_a_file_is_told_in_one_line(cfg, tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        from_file(cfg, tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_file_cannot_run_code(cfg, tmp_path):
    mark = tmp_path / "mark"
    text = f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{mark}']"
    with pytest.raises(
        ConfigError, match="not readable: line 1.*: could not determine a constructor"
    ):
        from_file(cfg, tmp_path, text)
    assert not mark.exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["SOLVER.LR", "1"], "command line: unknown config key 'SOLVER.LR'; the nearest .*BASE_LR"),
        (["SOLVER.MAX_ITER"], "command line: 'SOLVER.MAX_ITER' has no value"),
        (["OUTPUT_DIR", "a", "--resume"], "'--resume' must stand before the first KEY VALUE pair"),
        (["TEST.EVAL", "yes"], "command line: TEST.EVAL must be of type bool .* got 'yes'"),
    ],
)
def test_a_mistake_among_the_options_is_told_in_one_line(cfg, options, message):
    with pytest.raises(ConfigError, match=message):
        from_options(cfg, *options)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no config file '.*b.yaml'$"):
        read_settings(tmp_path / "b.yaml")


def test_known_keys_are_the_dotted_names_of_all_values(cfg):
    assert known_keys(cfg)[:2] == ["SOLVER.BASE_LR", "SOLVER.MAX_ITER"]
    assert known_keys(cfg)[-1] == "OUTPUT_DIR" and len(known_keys(cfg)) == 7


def test_a_config_file_that_is_not_there_is_told_with_the_one_that_may_be_meant(tmp_path):
    (tmp_path / "tiny.yaml").touch()
    with pytest.raises(ConfigError, match=r"tinny.yaml'; the nearest is '.*/tiny.yaml'$"):
        read_settings(tmp_path / "tinny.yaml")
    with pytest.raises(ConfigError, match=r"other.yaml'$"):
        read_settings(tmp_path / "other.yaml")
    with pytest.raises(ConfigError, match="it is a folder; name a .yaml file in it"):
        read_settings(tmp_path)
    with pytest.raises(ConfigError, match="'zoo://sed' names weights, and docs/zoo.md the config"):
        read_settings("zoo://sed")


def test_from_another_folder_a_config_of_the_checkout_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"in this folder; '/.*/configs/sed/tiny.yaml' is one$"):
        read_settings("configs/sed/tiny.yaml")


def test_broken_yaml_is_told_with_file_line_and_column(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text('MODEL:\n  A: "open\nB: 1\n')
    with pytest.raises(ConfigError, match=r"a.yaml' is not readable: line 4, column 1: found unex"):
        read_settings(path)
