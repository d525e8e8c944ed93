"""Who may do what: accounts and their secrets, model rights, record rules, and the credential cache of the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connectors.sim.kernel import Kernel
from connectors.sim.odoo import errors
from connectors.sim.odoo.store import Row

if TYPE_CHECKING:
    from connectors.sim.odoo.orm import Env

SUPERUSER, ADMIN, PUBLIC = 1, 2, 4

_GROUPS = {
    "user": ("User types/Internal User", ()),
    "partner_manager": ("Extra Rights/Contact Creation", ("user",)),
    "sale_own": ("Sales/User: Own Documents Only", ("user",)),
    "sale_all": ("Sales/User: All Documents", ("sale_own",)),
    "sale_manager": ("Sales/Administrator", ("sale_all",)),
    "mailing_user": ("Email Marketing/User", ("user",)),
    "system": ("Administration/Settings", ("sale_manager", "mailing_user", "partner_manager")),
}
GROUP_IDS = {name: at for at, name in enumerate(_GROUPS, start=1)}
XML_GROUPS = {
    "base.group_user": "user", "base.group_partner_manager": "partner_manager", "base.group_system": "system",
    "sales_team.group_sale_salesman": "sale_own", "sales_team.group_sale_salesman_all_leads": "sale_all",
    "sales_team.group_sale_manager": "sale_manager", "mass_mailing.group_mass_mailing_user": "mailing_user",
}

_MAILING = {"mailing_user": "rwcd"}
_READ = {"user": "r"}
_RIGHTS: dict[str, dict[str, str]] = {
    "res.partner": {"user": "r", "sale_own": "rwc", "sale_manager": "rwcd", "partner_manager": "rwcd"},
    "res.partner.category": {"user": "r", "partner_manager": "rwcd"},
    "crm.lead": {"sale_own": "rwc", "sale_manager": "rwcd"},
    "crm.tag": {"sale_own": "rwc", "sale_manager": "rwcd"},
    "res.users": {"user": "r", "system": "rwcd"}, "res.users.apikeys": {"user": "r"},
    "mailing.contact": _MAILING, "mailing.list": _MAILING, "mailing.subscription": _MAILING,
    "mailing.contact.subscription": _MAILING, "mail.blacklist": _MAILING, "mailing.trace": _MAILING,
    "mailing.mailing": _MAILING, "mailing.subscription.optout": _MAILING, "ir.config_parameter": {},
}
_VERBS = {"r": "access", "w": "modify", "c": "create", "d": "delete"}
OPERATIONS = {"read": "r", "write": "w", "create": "c", "unlink": "d"}


@dataclass(slots=True)
class ApiKey:
    """An API key; ``expires`` in seconds since the epoch, None = never."""

    secret: str
    name: str = "key"
    expires: float | None = None


@dataclass(slots=True)
class User:
    """An account. ``groups`` are names of this module; what they imply is added."""

    id: int
    login: str
    name: str = ""
    password: str = ""
    keys: tuple[ApiKey, ...] = ()
    groups: frozenset[str] = frozenset({"user"})
    active: bool = True
    share: bool = False
    companies: tuple[int, ...] = (1,)
    lang: str = "en_US"
    tz: str = "Europe/Brussels"

    def all_groups(self) -> frozenset[str]:
        found = set(self.groups)
        todo = list(found)
        while todo:
            for implied in _GROUPS[todo.pop()][1]:
                if implied not in found:
                    found.add(implied)
                    todo.append(implied)
        return frozenset(found)


def default_users() -> list[User]:
    """The accounts a world has when none are given."""
    syncing = frozenset({"partner_manager", "sale_all", "mailing_user"})
    return [
        User(SUPERUSER, "__system__", "OdooBot", active=False, groups=frozenset({"system"})),
        User(ADMIN, "admin", "Mitchell Admin", "admin", groups=frozenset({"system"})),
        User(PUBLIC, "public", "Public user", active=False, share=True, groups=frozenset()),
        User(8, "sync@example.test", "Sync", keys=(ApiKey("key-sync"),), groups=syncing),
        User(9, "plain@example.test", "Plain", keys=(ApiKey("key-plain"),)),
        User(10, "own@example.test", "Own documents", keys=(ApiKey("key-own"),), groups=frozenset({"sale_own"})),
    ]


@dataclass(slots=True)
class Access:
    """Accounts and rights of one server process."""

    kernel: Kernel
    side: str
    users: dict[int, User] = field(default_factory=dict)
    verified: set[tuple[int, str]] = field(default_factory=set)
    """(uid, secret) pairs this worker has checked once; it does not look at them again, not even after expiry."""
    external_ids: dict[tuple[str, str], int] = field(default_factory=dict)
    """(model, external id) -> id, kept by ``load``."""
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def nonce(self) -> int:
        """A number that differs with every use, for orders nobody may rely on."""
        with self._lock:
            self._count += 1
            return self._count * 40503

    def dropped_fields(self, model: str) -> frozenset[str]:
        fault = self.kernel.faults.active(self.side, "drop_field", object=model)
        return frozenset((fault.field,)) if fault is not None and fault.field else frozenset()

    # -- who

    def authenticate(self, login: str, secret: str) -> int | None:
        """The user id, or None; never cached, so an expired key is noticed here first."""
        for user in self.users.values():
            if user.login == login and user.active and self._secret_fits(user, secret):
                return user.id
        return None

    def verify(self, uid: Any, secret: Any) -> tuple[User, bool]:
        """(account, whether this was the slow first check) for an object call.

        :raises OdooError: AccessDenied, or MissingError for an id that never existed
        """
        if not uid or not secret:
            raise errors.access_denied()
        user = self.users.get(uid)
        if user is None:
            raise errors.missing("res.users", uid, uid)
        if not user.active:
            raise errors.access_denied()
        if (uid, secret) in self.verified:
            return user, False
        if not self._secret_fits(user, secret):
            raise errors.access_denied()
        self.verified.add((uid, secret))
        return user, True

    def by_key(self, secret: str) -> User | None:
        """The owner of an API key, as JSON-2 looks it up."""
        for user in self.users.values():
            if user.active and any(k.secret == secret and self._fresh(k) for k in user.keys):
                return user
        return None

    def _secret_fits(self, user: User, secret: str) -> bool:
        if user.password and user.password == secret:
            return True
        return any(k.secret == secret and self._fresh(k) for k in user.keys)

    def _fresh(self, key: ApiKey) -> bool:
        return key.expires is None or key.expires > self.kernel.clock.now()

    # -- what

    def allowed(self, env: Env, model: str, right: str) -> bool:
        """Whether the account holds ``right`` (r, w, c or d) on the model at all."""
        if env.su:
            return True
        groups = self.users[env.uid].all_groups()
        if "system" in groups:
            return True
        return any(right in _RIGHTS.get(model, _READ).get(group, "") for group in groups)

    def require(self, env: Env, model: str, right: str) -> None:
        """:raises OdooError: AccessError naming the groups that would help"""
        if self.allowed(env, model, right):
            return
        helpful = sorted(_GROUPS[g][0] for g, rights in _RIGHTS.get(model, _READ).items() if right in rights)
        label = env.db.models[model].label
        listed = "\n".join(f"\t- {name}" for name in helpful)
        raise errors.access_error(
            f"You are not allowed to {_VERBS[right]} '{label}' ({model}) records.\n\n"
            f"This operation is allowed for the following groups:\n{listed}\n\n"
            "Contact your administrator to request access if necessary.")

    def rule(self, env: Env, model: str) -> Callable[[int, Row], bool] | None:
        """The record rule that limits which rows this user sees, None = all."""
        if env.su:
            return None
        user = self.users[env.uid]
        if model == "res.users.apikeys":
            return lambda _id, row: row.get("user_id") == user.id
        if "company_id" not in env.db.models[model].fields or model == "res.users":
            return None
        companies = {None, *user.companies}
        if model == "crm.lead" and "sale_all" not in user.all_groups():
            own = {None, user.id}
            return lambda _id, row: row.get("company_id") in companies and row.get("user_id") in own
        return lambda _id, row: row.get("company_id") in companies

    def require_rows(self, env: Env, model: str, ids: Iterable[int], operation: str) -> None:
        """:raises OdooError: AccessError when a record rule hides one of these existing rows"""
        rule = self.rule(env, model)
        rows = env.db.tables[model].rows
        if rule is None or all(rule(i, rows[i]) for i in ids if i in rows):
            return
        user = self.users[env.uid]
        raise errors.access_error(
            "Uh-oh! Looks like you have stumbled upon some top-secret records.\n\n"
            f"Sorry, {user.name} (id={user.id}) doesn't have '{operation}' access to:\n"
            f"- {env.db.models[model].label} ({model})\n\nIf you really, really need access, perhaps you can win over "
            "your friendly administrator with a batch of freshly baked cookies.")

    def rows(self) -> Mapping[str, list[Row]]:
        """The accounts as rows of the database."""
        users: list[Row] = []
        keys: list[Row] = []
        for user in self.users.values():
            groups = tuple(sorted(GROUP_IDS[g] for g in user.all_groups()))
            users.append({"id": user.id, "login": user.login, "name": user.name or user.login, "active": user.active,
                          "share": user.share, "company_id": user.companies[0], "company_ids": list(user.companies),
                          "groups_id": list(groups), "group_ids": list(groups), "lang": user.lang, "tz": user.tz})
            keys += [{"name": key.name, "scope": "rpc", "user_id": user.id, "expiration_date":
                      None if key.expires is None else int(key.expires * 1e6)} for key in user.keys]
        return {"res.users": users, "res.users.apikeys": keys,
                "res.groups": [{"id": i, "name": _GROUPS[name][0]} for name, i in GROUP_IDS.items()]}
