"""Config files and options into a config: safe YAML, and every mistake told with its place."""

from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import Any, Iterator, List, Sequence, Tuple, Union

import yaml
from detectron2.config import CfgNode

from segplugins.files.text import yaml_fault

BASE_KEY = "_BASE_"
_CHECKOUT = Path(__file__).resolve().parents[2]


class ConfigError(ValueError):
    """A mistake in a config file or option. Its text is one line for the user."""


@dataclass(frozen=True)
class Setting:
    """One key with the value that somebody gave it.

    Args:
        key: dotted, such as "SOLVER.BASE_LR".
        value: as YAML or the command line gives it.
        where: for messages, such as "configs/a.yaml line 3".
    """

    key: str
    value: Any
    where: str


def read_settings(path: Union[str, Path], _chain: Tuple[Path, ...] = ()) -> List[Setting]:
    """Reads a config file after its bases (`_BASE_`: one path or several, relative to the file).

    No YAML tag builds an object, so a file of a stranger cannot run code.

    Returns:
        All settings, in the order in which they apply: the last one wins.

    Raises:
        ConfigError: no such file, not readable, a key twice in one file, or a circle of bases.
    """
    path = Path(path).expanduser()
    if path.resolve() in _chain:
        circle = " -> ".join(p.name for p in (*_chain, path))
        raise ConfigError(f"config file '{path}' is its own {BASE_KEY}: {circle}")
    if not path.is_file():
        raise ConfigError(_absent(path, _chain))
    try:
        with path.open(encoding="utf-8") as file:
            own = list(_Flattener(file, path).settings())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file '{path}' is not readable: {yaml_fault(error)}") from error
    bases = [setting for setting in own if setting.key == BASE_KEY]
    names = bases[0].value if bases else []
    settings: List[Setting] = []
    for name in [names] if isinstance(names, str) else names or []:
        base = Path(str(name)).expanduser()  # an absolute base is taken as it stands
        settings += read_settings(path.parent / base, (*_chain, path.resolve()))
    return settings + [setting for setting in own if setting.key != BASE_KEY]


def _absent(path: Path, chain: Tuple[Path, ...]) -> str:
    """Returns that there is no such config file, and which one may be meant."""
    text = f"no config file '{path}'"
    if chain:
        return f"{text}; it is the {BASE_KEY} of '{chain[-1]}'"
    if path.is_dir():
        return f"{text}, it is a folder; name a .yaml file in it"
    if path.parts[:1] == ("zoo:",):
        return f"{text}; 'zoo://{path.name}' names weights, and docs/zoo.md the config for them"
    in_checkout = _CHECKOUT / path
    if in_checkout.is_file():  # called from another folder
        return f"{text} in this folder; '{in_checkout}' is one"
    folder = next((f for f in (path.parent, _CHECKOUT / path.parent) if f.is_dir()), None)
    names = sorted(file.stem for file in folder.glob("*.yaml")) if folder else []
    nearest = get_close_matches(path.stem, names, n=1)
    return f"{text}; the nearest is '{folder / nearest[0]}.yaml'" if nearest else text


class _Flattener:
    """Walks the YAML nodes of one file, which know their lines."""

    def __init__(self, file: Any, path: Path):
        self._loader = yaml.SafeLoader(file)
        self._path = path
        self._seen: set = set()

    def settings(self) -> Iterator[Setting]:
        root = self._loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(
                f"config file '{self._path}' must hold KEY: value, not a list or text"
            )
        yield from self._walk(root, "")

    def _walk(self, section: yaml.MappingNode, prefix: str) -> Iterator[Setting]:
        if id(section) in self._seen:
            raise ConfigError(f"{self._where(section)}: a section cannot be repeated by an anchor")
        self._seen.add(id(section))
        lines: dict = {}
        for key_node, value_node in section.value:
            where = self._where(key_node)
            if key_node.tag != "tag:yaml.org,2002:str":
                raise ConfigError(f"{where}: '{key_node.value}' is no config key")
            key = prefix + key_node.value
            if key in lines:
                raise ConfigError(f"{where}: '{key}' stands twice, first in line {lines[key]}")
            lines[key] = key_node.start_mark.line + 1
            if isinstance(value_node, yaml.MappingNode):
                yield from self._walk(value_node, f"{key}.")
            else:
                yield Setting(key, self._loader.construct_object(value_node, deep=True), where)

    def _where(self, node: yaml.Node) -> str:
        return f"{self._path} line {node.start_mark.line + 1}"


def option_settings(options: Sequence[str]) -> List[Setting]:
    """Reads the "KEY VALUE ..." that ends a command line.

    Raises:
        ConfigError: a key without a value, or an option of the program among them.
    """
    for option in options:
        if option.startswith("--"):
            raise ConfigError(
                f"command line: '{option}' must stand before the first KEY VALUE pair"
            )
    if len(options) % 2:
        raise ConfigError(f"command line: '{options[-1]}' has no value; write KEY VALUE pairs")
    return [Setting(key, value, "command line") for key, value in zip(options[::2], options[1::2])]


def apply_settings(cfg: CfgNode, settings: Sequence[Setting]) -> None:
    """Sets the values, in order.

    Args:
        cfg: with all keys that exist, changed in place.

    Raises:
        ConfigError: an unknown key (named with the nearest known one), or a value of another type
            than the key's default.
    """
    defaults = cfg.clone()
    for setting in settings:
        default = _lookup(defaults, setting)
        *sections, name = setting.key.split(".")
        node = cfg
        for section in sections:
            node = node[section]
        node[name] = _typed(setting, default)


def known_keys(cfg: CfgNode, prefix: str = "") -> List[str]:
    """Returns the dotted name of every value in a config, sections left out."""
    keys: List[str] = []
    for name, value in cfg.items():
        full = prefix + name
        keys += known_keys(value, f"{full}.") if isinstance(value, CfgNode) else [full]
    return keys


def _lookup(defaults: CfgNode, setting: Setting) -> Any:
    node: Any = defaults
    for part in setting.key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            nearest = _nearest(setting.key, known_keys(defaults))
            raise ConfigError(
                f"{setting.where}: unknown config key '{setting.key}'; "
                f"the nearest known key is '{nearest}'"
            )
        node = node[part]
    if isinstance(node, CfgNode):
        raise ConfigError(
            f"{setting.where}: '{setting.key}' is a section with the keys {sorted(node)}, "
            f"not a value; got {setting.value!r}"
        )
    return node


def _nearest(key: str, candidates: Sequence[str]) -> str:
    last = key.rpartition(".")[2].lower()

    def likeness(other: str) -> Tuple[bool, float]:
        ratio = SequenceMatcher(None, key.lower(), other.lower(), autojunk=False).ratio()
        return other.rpartition(".")[2].lower() == last, ratio

    return max(candidates, key=likeness)


def _typed(setting: Setting, default: Any) -> Any:
    """The value in the type of the key's default; text is read as a Python literal if need be."""
    value = setting.value
    if default is None:
        return CfgNode._decode_cfg_value(value)
    if isinstance(default, str):
        decoded = value  # text stays text: "2024" is a folder, "1, 2" a vocabulary
    elif isinstance(default, bool) and str(value).lower() in ("true", "false"):
        decoded = str(value).lower() == "true"
    else:
        decoded = CfgNode._decode_cfg_value(value)
    if type(decoded) is type(default):
        return decoded
    if isinstance(default, float) and type(decoded) is int:
        return float(decoded)
    if isinstance(default, (list, tuple)) and isinstance(decoded, (list, tuple)):
        return type(default)(decoded)
    hint = f'; write "({value!r},)"' if isinstance(default, (list, tuple)) else ""
    raise ConfigError(
        f"{setting.where}: {setting.key} must be of type {type(default).__name__} "
        f"like its default {default!r}, got {value!r}{hint}"
    )
