"""Reducers in Python: functions registered by mutation name, whose arguments pydantic validates.

    class Todos(PythonReducer):
        @migration(1)
        def tables(self, ctx: ReducerContext) -> None:
            ctx.execute("CREATE TABLE todos (id TEXT PRIMARY KEY, text TEXT, done INTEGER DEFAULT 0)")

        @mutation
        def add(self, ctx: ReducerContext, id: str, text: Annotated[str, Field(min_length=1)]) -> None:
            ctx.execute("INSERT INTO todos (id, text) VALUES (?, ?)", (id, text))

or, with functions of a module: ``todos = PythonReducer()`` and ``@todos.migration(1)``, ``@todos.mutation``.

Arguments are stored as JSON; at every replay they are converted to the annotated types (a date, an enumeration, a
model). The same mutation on the same data must give the same result, so a reducer gets the time and random numbers from
its context.
"""

import difflib
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeVar, overload

import pydantic

from sqlsync.envelope import Mutation, Opaque
from sqlsync.errors import BadMutation
from sqlsync.reducers.reducer import ReducerContext

_Function = TypeVar("_Function", bound=Callable[..., None])
_MARK = "__sqlsync_mark__"
_MISSING = "missing_keyword_only_argument"
_UNKNOWN = "unexpected_keyword_argument"


@dataclass(frozen=True, slots=True)
class _Mark:
    """A decorator's registration of a method."""

    mutation: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class _Registered:
    """A mutation: its function, and the converter from the envelope's arguments to the function's."""

    function: Callable[..., None]
    validate: Callable[..., dict[str, Any]]


@overload
def mutation(name: _Function, /) -> _Function: ...
@overload
def mutation(name: str, /) -> Callable[[_Function], _Function]: ...
def mutation(name: Any, /) -> Any:
    """Register a method of a `PythonReducer` as a mutation with its own name, or with ``name``."""
    if callable(name):
        return _marked(name, _Mark(mutation=getattr(name, "__name__", "")))
    return partial(_marked, mark=_Mark(mutation=name))


def migration(version: int) -> Callable[[_Function], _Function]:
    """Register a method of a `PythonReducer` as the migration from ``version - 1`` to ``version``."""
    return partial(_marked, mark=_Mark(version=version))


class PythonReducer:
    """A reducer whose mutations are Python functions; see the module's docstring. Threads may share it."""

    _class_mutations: ClassVar[Mapping[str, _Registered]] = {}
    _class_migrations: ClassVar[Mapping[int, Callable[..., None]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Register the marked methods; raises `TypeError` for invalid ones."""
        super().__init_subclass__(**options)
        mutations, migrations = dict(cls._class_mutations), dict(cls._class_migrations)
        for attribute, function in vars(cls).items():
            mark = getattr(function, _MARK, None)
            if mark is None:
                continue
            if attribute in vars(PythonReducer):
                raise TypeError(
                    f"{cls.__name__}.{attribute} hides a method of PythonReducer; give it another name, as in "
                    f'@mutation("{attribute}") def do_{attribute}(self, ctx)'
                )
            if mark.mutation is not None:
                mutations[mark.mutation] = _Registered(function, _validator(mark.mutation, function, skipped=2))
            else:
                migrations[mark.version] = function
        cls._class_mutations, cls._class_migrations = mutations, migrations

    def __init__(self) -> None:
        """Start with the mutations and migrations of the class."""
        self._mutations: dict[str, _Registered] = {
            name: _Registered(partial(found.function, self), found.validate)
            for name, found in self._class_mutations.items()
        }
        self._migrations: dict[int, Callable[..., None]] = {
            version: partial(function, self) for version, function in self._class_migrations.items()
        }

    @overload
    def mutation(self, name: _Function, /) -> _Function: ...
    @overload
    def mutation(self, name: str, /) -> Callable[[_Function], _Function]: ...
    def mutation(self, name: Any, /) -> Any:
        """Register a function, whose first parameter is the context, as a mutation with its own name, or ``name``."""
        if callable(name):
            return self._add_mutation(name, called=getattr(name, "__name__", ""))
        return partial(self._add_mutation, called=name)

    def migration(self, version: int) -> Callable[[_Function], _Function]:
        """Register a function as the migration from ``version - 1`` to ``version``."""
        return partial(self._add_migration, version=version)

    @property
    def mutations(self) -> tuple[str, ...]:
        """The names of the mutations, sorted."""
        return tuple(sorted(self._mutations))

    @property
    def version(self) -> int:
        """The schema version: the number of the last migration, 0 if there is none."""
        return len(self._migrations)

    @property
    def digest(self) -> bytes | None:
        """None: only WebAssembly modules have one."""
        return None

    def migrate(self, context: ReducerContext, version: int) -> None:
        """Run a migration step."""
        if version not in self._migrations:
            raise TypeError(
                f"{type(self).__name__} has migrations {sorted(self._migrations)}; they must be numbered 1, 2, 3 …"
            )
        self._migrations[version](context)

    def check(self, mutation: Mutation) -> None:
        """Raise `BadMutation` if there is no such mutation, or if its arguments do not fit."""
        self._arguments(mutation)

    def apply(self, context: ReducerContext) -> None:
        """Apply the context's mutation."""
        registered, arguments = self._arguments(context.mutation)
        registered.function(context, **arguments)

    def _arguments(self, mutation: Mutation) -> tuple[_Registered, dict[str, Any]]:
        body = mutation.body
        if isinstance(body, Opaque):
            raise BadMutation(
                f"{type(self).__name__} needs mutations with names, and this one is {len(body.payload)} opaque bytes"
            )
        registered = self._mutations.get(body.name)
        if registered is None:
            raise BadMutation(_unknown(body.name, self.mutations))
        try:
            return registered, registered.validate(**body.arguments)
        except pydantic.ValidationError as error:
            raise BadMutation(f"mutation {body.name!r}: {_described(error)}") from error

    def _add_mutation(self, function: _Function, called: str) -> _Function:
        if called in self._mutations:
            raise TypeError(f"mutation {called!r} is already registered")
        self._mutations[called] = _Registered(function, _validator(called, function, skipped=1))
        return function

    def _add_migration(self, function: _Function, version: int) -> _Function:
        if version in self._migrations:
            raise TypeError(f"the migration to version {version} is already registered")
        self._migrations[version] = function
        return function


def _marked(function: _Function, mark: _Mark) -> _Function:
    setattr(function, _MARK, mark)
    return function


def _validator(name: str, function: Callable[..., None], *, skipped: int) -> Callable[..., dict[str, Any]]:
    """Return a converter of a mutation's arguments to those of its function; it raises `pydantic.ValidationError`."""
    hints = typing.get_type_hints(function, include_extras=True)
    given = list(inspect.signature(function).parameters.values())
    if len(given) < skipped:
        raise TypeError(f"mutation {name!r} needs a context as its {'first' if skipped == 1 else 'second'} parameter")
    parameters = []
    for parameter in given[skipped:]:
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise TypeError(f"mutation {name!r} has a parameter {parameter}; all parameters must be named and known")
        annotation = hints.get(parameter.name, Any)
        parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=annotation))

    def collect(**arguments: Any) -> dict[str, Any]:
        return arguments

    collect.__name__ = collect.__qualname__ = name
    collect.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    collect.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return pydantic.validate_call(collect)


def _unknown(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known mutations: {', '.join(known) or 'none'}"
    return f"there is no mutation {name!r}; {hint}"


def _described(error: pydantic.ValidationError) -> str:
    """Return the problems of the arguments on one line."""
    found = []
    for detail in error.errors(include_url=False):
        where = ".".join(map(str, detail["loc"]))
        match detail["type"]:
            case kind if kind == _MISSING:
                found.append(f"{where} is missing")
            case kind if kind == _UNKNOWN:
                found.append(f"{where} is not an argument")
            case "missing":
                found.append(f"{where} is missing")
            case _:
                found.append(f"{where}: {detail['msg']} (got {_shown(detail['input'])})")
    return "; ".join(found)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
