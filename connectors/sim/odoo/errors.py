"""The errors an Odoo server raises, by the exception's qualified name, which is all a client may rely on."""

from __future__ import annotations

from typing import Any


class OdooError(Exception):
    """One error answer.

    name    qualified exception name, as in ``error.data.name``
    code    ``error.code`` of JSON-RPC: 200, or 100 for an expired session
    status  HTTP status the 19.0 JSON-2 API gives it
    """

    def __init__(self, name: str, message: str, *, code: int = 200, status: int = 500) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.code = code
        self.status = status

    def answer(self) -> dict[str, Any]:
        """The ``error`` member of a JSON-RPC reply."""
        short = self.name.removeprefix("builtins.")
        debug = f"Traceback (most recent call last):\n  File \"/odoo/http.py\", line 1\n{short}: {self.message}\n"
        return {
            "code": self.code,
            "message": "Odoo Session Expired" if self.code == 100 else "Odoo Server Error",
            "data": {"name": self.name, "debug": debug, "message": self.message, "arguments": [self.message],
                     "context": {}},
        }


def access_denied(message: str = "Access Denied") -> OdooError:
    return OdooError("odoo.exceptions.AccessDenied", message, status=403)


def access_error(message: str) -> OdooError:
    return OdooError("odoo.exceptions.AccessError", message, status=403)


def user_error(message: str) -> OdooError:
    return OdooError("odoo.exceptions.UserError", message, status=422)


def validation_error(message: str) -> OdooError:
    return OdooError("odoo.exceptions.ValidationError", message, status=422)


def missing(model: str, record: object, uid: int) -> OdooError:
    shown = f"(Record: {model}({record},), User: {uid})"
    return OdooError("odoo.exceptions.MissingError", f"Record does not exist or has been deleted.\n{shown}", status=404)


def builtin(kind: str, message: str) -> OdooError:
    """A plain Python exception that left the server code (``ValueError``, ``TypeError`` …)."""
    return OdooError(f"builtins.{kind}", message)


def invalid_field(model: str, name: str) -> OdooError:
    return builtin("ValueError", f"Invalid field {name!r} on model {model!r}")


def foreign_key(label: str, model: str, constraint: str) -> OdooError:
    """What a reference to a missing record gives: a sentence about deleting, which misleads."""
    return validation_error(
        "The operation cannot be completed: another model requires the record being deleted. "
        f"If possible, archive it instead.\n\nModel: {label} ({model})\nConstraint: {constraint}\n")


def postgres(kind: str, message: str) -> OdooError:
    return OdooError(f"psycopg2.errors.{kind}", message)


def unknown_database(name: str) -> OdooError:
    return OdooError("psycopg2.OperationalError",
                     'connection to server at "127.0.0.1", port 5432 failed: FATAL:  '
                     f'database "{name}" does not exist\n')
