"""The price list: a file of what can be bought with credits, read again when it has changed.

Theory of operation. The file is YAML and is read in three steps. It is parsed into nodes, each of which knows its line
and column. The nodes become plain values by rules of our own, stricter than YAML's: no anchors, no tags, no key twice,
and nothing that looks like a number or a truth value to one reader and like text to another (`yes`, `010`, `1:30`).
pydantic judges the values, and `_faults` what no single field can know. Whatever is wrong is said with the position of
the very node. Money is written as decimal text and never becomes a binary fraction. docs/price-list.md has the fields.
"""

from __future__ import annotations

import hashlib
import re
import stat
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from os import fstat, stat_result
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import structlog
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from api.reasons import UNUSABLE_SETTINGS, CannotGoOn
from billing.pricing import JOB_CREDITS_MAX, Availability, Model, Parameter, Policy, Price, PriceList
from billing.pricing import PARAMETER_NUMBER_MAX as NUMBER_MAX
from billing.pricing import parameter_fault as fault_of

BYTES_MAX: Final = 256 * 1024
MODELS_MAX: Final = 200
UNITS_MAX: Final = 100
OPERATIONS_MAX: Final = 8
ALIASES_MAX: Final = 16
PARAMETERS_MAX: Final = 32
CHOICES_MAX: Final = 64
DEADLINE_S_MAX: Final = 86_400
DEPTH_MAX: Final = 10
"""How deep the file may be nested; a choice of a parameter is the deepest there is, with 7."""
FAULTS_SHOWN_MAX: Final = 10
LOOK_EVERY_S: Final = 1.0
BUILT_IN: Final = Path(__file__).with_name("price_list.yaml")
PRICED_BY_THE_CLIENT: Final = "xai.grok-imagine-image"
"""The public client 0.1.70 ignores our price for ids that begin so, and computes one of its own."""

_TAG: Final = "tag:yaml.org,2002:"
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_FRACTION: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})\.[0-9]{1,15}")

Place = tuple[int | str, ...]
"""Where something stands: field names, and numbers of items from 0 on."""

KEY: Final = "[key]"
"""The last part of a place that means a field's name and not its value, as pydantic has it."""

log = structlog.get_logger()


class Unusable(ValueError):
    """A file is no price list. Each line of the message begins with `file:line:column: `, both counted from 1."""


class _Fault(Exception):
    def __init__(self, mark: Any, message: str) -> None:
        super().__init__(message)
        self.line, self.column = mark.line + 1, mark.column + 1


class _Nodes(yaml.SafeLoader):
    """Composes nodes, of a bounded depth and without aliases, by which a small file can mean an endless one."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _Fault(event.start_mark, "anchors and aliases are not taken; write it out")
        if self.depth == DEPTH_MAX:
            raise _Fault(event.start_mark, "this is nested too deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _root(raw: bytes) -> Any:
    """The node of the whole file. Raises `_Fault`."""
    if len(raw) > BYTES_MAX:
        raise _Fault(_mark_at(""), f"the file is larger than {BYTES_MAX} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Fault(_mark_at(raw[: error.start].decode("utf-8-sig")), "this is not UTF-8") from None
    try:
        node = yaml.compose(text, Loader=_Nodes)
    except yaml.reader.ReaderError as error:
        raise _Fault(_mark_at(text[: error.position]), "this character may not stand in YAML") from None
    except yaml.MarkedYAMLError as error:
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise _Fault(error.problem_mark or error.context_mark or _mark_at(""), said) from None
    if node is None:
        raise _Fault(_mark_at(""), "the file is empty")
    return node


def _mark_at(before: str) -> yaml.Mark:
    return yaml.Mark("", 0, before.count("\n"), len(before) - before.rfind("\n") - 1, None, 0)


def _value(node: Any) -> Any:
    """A node as a plain value. Raises `_Fault`."""
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, kind)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_value(item) for item in node.value]
    if isinstance(node, yaml.MappingNode) and kind == "map":
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != f"{_TAG}str":
                raise _Fault(key.start_mark, "the name of a field is text")
            if key.value in found:
                raise _Fault(key.start_mark, f"{key.value} stands here twice")
            found[key.value] = _value(value)
        return found
    raise _Fault(node.start_mark, "tags are not taken")


def _scalar(node: Any, kind: str) -> Any:
    match kind:
        case "str":
            return node.value
        case "null":
            return None
        case "bool" if node.value in {"true", "false"}:
            return node.value == "true"
        case "int" if _WHOLE.fullmatch(node.value):
            return int(node.value)
        case "float" if _FRACTION.fullmatch(node.value):
            return float(node.value)
    raise _Fault(node.start_mark, "write a number in plain digits, true or false, or text in quotes")


def _position(root: Any, place: Place) -> tuple[Any, str, bool]:
    """The mark of what stands at a place, or of what it should stand in; its name; and whether it stands there."""
    node, name = root, ""
    for at, part in enumerate(place):
        if isinstance(part, int):
            node, name = node.value[part], f"{name}[{part}]"
            continue
        name = f"{name}.{part}" if name else str(part)
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        pair = next(((key, value) for key, value in pairs if key.value == part), None)
        if pair is None:
            return node.start_mark, name, False
        if place[at + 1 :] == (KEY,):
            return pair[0].start_mark, name, True
        node = pair[1]
    return node.start_mark, name or "the file", True


def _decimal(digits: int, whole: int) -> Callable[[Any], int]:
    """Decimal text as a number of its last digit: with 6 digits, "0.05" is 50,000. A whole number needs no quotes."""
    shape = re.compile(rf"(0|[1-9][0-9]{{0,{whole - 1}}})(?:\.([0-9]{{1,{digits}}}))?")
    message = f'must be decimal text in quotes, as "0.05": {whole} digits at most, and {digits} behind the point'

    def read(value: Any) -> int:
        found = shape.fullmatch(str(value)) if type(value) in {int, str} else None
        if found is None:
            raise ValueError(message)
        return int(found[1] + (found[2] or "").ljust(digits, "0"))

    return read


def _line(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be one line of text, without spaces around it")
    return value


Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
ParameterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Dollars = Annotated[int, BeforeValidator(_decimal(6, 6))]
Percent = Annotated[int, BeforeValidator(_decimal(2, 4))]
Bound = Annotated[int, Field(ge=-NUMBER_MAX, le=NUMBER_MAX)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class PriceEntry(_Entry):
    """How a price is made. Costs are of one unit, in millionths of a dollar; margins in hundredths of a percent."""

    policy: Annotated[Policy, Field(strict=False)]
    credits: Annotated[int, Field(ge=1, le=JOB_CREDITS_MAX)] | None = None
    cost_usd: Dollars | None = None
    margin_percent: Percent | None = None

    def price(self) -> Price:
        """The price for billing."""
        return Price(self.policy, self.credits or 0, self.cost_usd, self.margin_percent or 0)


class ParameterEntry(_Entry):
    """One field of `model_parameters`."""

    kind: Literal["string", "integer", "number", "boolean"]
    choices: Annotated[list[Any], Field(max_length=CHOICES_MAX)] = Field(default_factory=list)
    minimum: Bound | None = None
    maximum: Bound | None = None


class ModelEntry(_Entry):
    """One thing that can be bought."""

    id: Id
    name: Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_line)]
    description: Annotated[str, Field(max_length=1000), AfterValidator(_line)] = ""
    provider: Word
    modality: Word
    operations: Annotated[list[Word], Field(min_length=1, max_length=OPERATIONS_MAX)]
    availability: Annotated[Availability, Field(strict=False)]
    aliases: Annotated[list[Id], Field(max_length=ALIASES_MAX)] = Field(default_factory=list)
    units_max: Annotated[int, Field(ge=1, le=UNITS_MAX)] = 1
    deadline_s: Annotated[int, Field(ge=1, le=DEADLINE_S_MAX)] = 900
    price: PriceEntry
    parameters: Annotated[dict[ParameterName, ParameterEntry], Field(max_length=PARAMETERS_MAX)] = Field(
        default_factory=dict
    )

    def model(self) -> Model:
        """The model for billing."""
        as_they_are = {"id", "name", "description", "provider", "modality", "availability", "units_max"}
        return Model(
            **self.model_dump(include=as_they_are),
            operations=tuple(self.operations),
            aliases=tuple(self.aliases),
            price=self.price.price(),
            deadline=timedelta(seconds=self.deadline_s),
            parameters={
                name: Parameter(each.kind, tuple(each.choices), each.minimum, each.maximum)
                for name, each in self.parameters.items()
            },
        )


class ListEntry(_Entry):
    """The whole file. Without `default`, the first model that is available is the default one."""

    version: Literal[1]
    default: Id | None = None
    models: Annotated[list[ModelEntry], Field(min_length=1, max_length=MODELS_MAX)]


def read_price_list(raw: bytes, *, name: str) -> PriceList:
    """The price list that `raw` is. Raises `Unusable`, which calls the file `name`."""
    try:
        root = _root(raw)
        entry = ListEntry.model_validate(_value(root))
        faults = [_Fault(_position(root, place)[0], message) for place, message in _faults(entry)]
    except _Fault as fault:
        faults = [fault]
    except ValidationError as error:
        faults = [_as_fault(root, each) for each in error.errors(include_url=False, include_input=False)]
    if faults:
        raise Unusable("\n".join(f"{name}:{each.line}:{each.column}: {each}" for each in faults[:FAULTS_SHOWN_MAX]))
    models = [each.model() for each in entry.models]
    first = next((each for each in models if each.executable), models[0])
    return PriceList(models, entry.default or first.id, hashlib.sha256(raw).hexdigest())


def _as_fault(root: Any, error: Any) -> _Fault:
    kind, place = error["type"], error["loc"]
    mark, name, stands = _position(root, (*place, KEY) if kind == "extra_forbidden" else place)
    if kind == "extra_forbidden":
        return _Fault(mark, f"{name} is no field of a price list")
    if kind == "model_type":
        return _Fault(mark, f"{name} must have fields")
    if not stands:
        return _Fault(mark, f"{name} is required")
    said = str(error.get("ctx", {}).get("error", error["msg"]))
    return _Fault(mark, f"{name}: {said[:1].lower()}{said[1:]}")


def _faults(entry: ListEntry) -> Iterator[tuple[Place, str]]:
    """What no single field can know."""
    names: set[str] = {"default"}
    for at, model in enumerate(entry.models):
        place: Place = ("models", at)
        called = [((*place, "id"), model.id)]
        called += [((*place, "aliases", number), alias) for number, alias in enumerate(model.aliases)]
        for where, name in called:
            if name in names:
                yield where, f"{name} is taken already: ids and aliases are different, and default has its own meaning"
            names.add(name)
        if model.id.startswith(PRICED_BY_THE_CLIENT):
            yield (*place, "id"), f"the public client has prices of its own for ids that begin {PRICED_BY_THE_CLIENT}"
        for number, operation in enumerate(model.operations):
            if operation in model.operations[:number] or operation == "generate":
                yield (*place, "operations", number), f"{operation} stands here twice, or is called create"
        yield from _price_faults((*place, "price"), model)
        for name, parameter in model.parameters.items():
            yield from _parameter_faults((*place, "parameters", name), parameter)
    default = next((each for each in entry.models if each.id == entry.default), None)
    if entry.default is not None and (default is None or default.availability == Availability.CATALOG_ONLY):
        yield ("default",), "default must be the id of a model that is not catalog_only"


def _price_faults(place: Place, model: ModelEntry) -> Iterator[tuple[Place, str]]:
    price = model.price
    cost_plus = price.policy == Policy.COST_PLUS
    wanted = {"cost_usd", "margin_percent"} if cost_plus else {"credits"}
    for field in ("credits", "cost_usd", "margin_percent"):
        given = getattr(price, field) is not None
        if field in wanted and not given:
            yield place, f"a price that is {price.policy} needs {field}"
            return
        if given and field not in wanted | {"cost_usd"}:
            yield (*place, field), f"{field} is no part of a price that is {price.policy}"
            return
    if price.price().credits_for(model.units_max) > JOB_CREDITS_MAX:
        yield place, f"a job of units_max units would cost more than {JOB_CREDITS_MAX} credits"


def _parameter_faults(place: Place, entry: ParameterEntry) -> Iterator[tuple[Place, str]]:
    numeric = entry.kind in {"integer", "number"}
    for field in ("minimum", "maximum"):
        if getattr(entry, field) is not None and (not numeric or entry.choices):
            yield (*place, field), f"{field} goes with numbers that have no choices"
    if entry.minimum is not None and entry.maximum is not None and entry.minimum > entry.maximum:
        yield (*place, "minimum"), "minimum is above maximum"
    alone = Parameter(entry.kind)
    for number, choice in enumerate(entry.choices):
        if entry.kind == "boolean":
            yield (*place, "choices", number), "a boolean has no choices"
        elif (fault := fault_of(alone, choice)) is not None:
            yield (*place, "choices", number), f"a choice of this {entry.kind} must be {fault}"
        elif choice in entry.choices[:number]:
            yield (*place, "choices", number), f"{choice} stands here twice"


class PriceBook:
    """The price list of a file, or the built-in one, which is read again at most once a second when it has changed.

    A file that became unreadable changes nothing: the last good list stays, and the log says so once for each fault.
    Without an executor nothing can be ordered, so every available model is shown as `catalog_only`.
    """

    def __init__(self, path: Path | None, *, executor: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `CannotGoOn` with the position of each fault."""
        self._path = path or BUILT_IN
        self._executor = executor
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._said: str | None = None
        self._look_at = clock() + LOOK_EVERY_S
        try:
            self._prices = self._read()
        except (OSError, Unusable) as error:
            message = f"PURSER_PRICE_LIST names no price list that can be used:\n{error}"
            raise CannotGoOn(message, exit_code=UNUSABLE_SETTINGS) from None

    def current(self) -> PriceList:
        """The list as the file says it, or said it last."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._refresh()
        return self._prices

    def _refresh(self) -> None:
        try:
            if _identity(self._path.stat()) == self._seen:
                return
            self._prices, self._said = self._read(), None
        except (OSError, Unusable) as error:
            if str(error) != self._said:
                self._said = str(error)
                log.error("price_list_unreadable", path=str(self._path), reason=self._said)  # noqa: TRY400 - says it all
        else:
            log.info("price_list_read", path=str(self._path), digest=self._prices.digest)

    def _read(self) -> PriceList:
        # What is no file may never end, or not even open.
        if not stat.S_ISREG(self._path.stat().st_mode):
            raise Unusable(f"{self._path} is not a file")
        with self._path.open("rb") as file:
            # A file that could be read and is wrong is not read again until it is another one.
            self._seen, raw = _identity(fstat(file.fileno())), file.read(BYTES_MAX + 1)
        found = read_price_list(raw, name=str(self._path))
        return found if self._executor is not None else found.without_executor()


def _identity(found: stat_result) -> tuple[int, int, int]:
    return (found.st_mtime_ns, found.st_size, found.st_ino)
