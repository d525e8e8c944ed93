"""``syncd.yaml``: references, secrets, one complete answer about what is wrong."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.memory.connector import MemorySettings
from connectors.odoo.settings import OdooSettings
from connectors.salesforce.settings import SalesforceSettings
from syncd.config import Config, ConfigProblems, Secret, load_config
from syncd.guard import Limits

KEY = "0123456789abcdef0123456789abcdef"

SKETCH = """
state: /var/lib/syncd/syncd.db
journal: /var/lib/syncd-journal/consent.log
hash_key: ${cred:hash_key}
mappings: [mapping.yaml]
connections:
  sf:      {type: salesforce, domain: acme.my, auth: {flow: client_credentials, client_id: "${SF_ID}", client_secret: "${cred:sf_secret}"}}
  odoo:    {type: odoo, url: https://odoo.acme.example, database: acme, user: syncd, api_key: "${cred:odoo}"}
  mc_main: {type: marketing_cloud, subdomain: mcxyz, mid: 12345, client_id: "${MC_ID}", client_secret: "${cred:mc_secret}"}
schedule: {poll: 60s, full_compare: 1d}
"""  # noqa: E501 - laid out as admins write it

SMALL = """
state: syncd.db
journal: consent.log
hash_key: ${KEY}
mappings: [mapping.yaml]
connections: {a: {type: memory, socket: world.sock, name: a}}
"""


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    directory = tmp_path / "credentials"
    directory.mkdir()
    for name in ("hash_key", "sf_secret", "odoo", "mc_secret"):
        (directory / name).write_text(f"secret of {name}, long enough\n")
    return {"CREDENTIALS_DIRECTORY": str(directory), "SF_ID": "sf-client", "MC_ID": "mc-client", "KEY": KEY}


def write(folder: Path, text: str) -> Path:
    path = folder / "syncd.yaml"
    path.write_text(dedent(text))
    return path


def problems(folder: Path, text: str, environment: Mapping[str, str]) -> list[str]:
    path = write(folder, text)
    with pytest.raises(ConfigProblems) as refused:
        load_config(path, environment)
    assert str(refused.value).splitlines() == [str(problem) for problem in refused.value.problems]
    return [str(problem).removeprefix(str(path)) for problem in refused.value.problems]


def test_the_sketch_loads_as_it_is(tmp_path: Path, credentials: dict[str, str]) -> None:
    config = load_config(write(tmp_path, SKETCH), credentials)
    assert config.types == {"sf": "salesforce", "odoo": "odoo", "mc_main": "marketing_cloud"}
    assert config.mappings == [tmp_path / "mapping.yaml"]
    assert config.hash_key.reveal() == "secret of hash_key, long enough"
    assert (config.schedule.poll, config.schedule.full_compare) == (60_000_000, 86_400_000_000)
    assert config.policy.max_consent_age == 3_600_000_000
    assert config.connections["sf"].settings() == {
        "domain": "acme.my", "flow": "client_credentials", "client_id": "sf-client",
        "client_secret": "secret of sf_secret, long enough"}


def test_settings_fit_the_connectors(tmp_path: Path, credentials: dict[str, str]) -> None:
    more = SMALL + """\
schedule: {poll: 5s}
"""
    text = more.replace("connections: {a:", """connections:
  sf:
    type: salesforce
    endpoint: http://127.0.0.1:8001/
    auth: {flow: jwt_bearer, client_id: x, username: u, private_key: "${KEY}"}
    api_version: "67.0"
    page_size: 500
    bulk_threshold: 10
    lag: 10s
    overlap: 5m
    api_share: 50%
    opt_out_reserve: 0.1
    connect_user: "005x"
    ca_file: ca.pem
  odoo: {type: odoo, url: "http://[::1]:8069", database: d, user: u, api_key: "${KEY}", api: json2, lang: de_DE,
         overlap: 10m, page_size: 100}
  mc: {type: marketing_cloud, endpoint: "http://localhost:1", auth_url: "http://localhost:2", mid: "${MID}",
       client_id: c, client_secret: "${KEY}", server_utc_offset: -7, yearly_calls: 9, max_async_rows: 5,
       overlap: 2h, event_days: 3}
  a:""").replace("name: a}}", "name: a}")
    config = load_config(write(tmp_path, text), {**credentials, "MID": "77"})
    salesforce = SalesforceSettings(**config.connections["sf"].settings())
    assert (salesforce.flow, salesforce.private_key, salesforce.overlap_seconds) == ("jwt_bearer", KEY, 300)
    assert (salesforce.endpoint, salesforce.ca_file) == ("http://127.0.0.1:8001", str(tmp_path / "ca.pem"))
    assert OdooSettings(**config.connections["odoo"].settings()).overlap_seconds == 600
    marketing = MarketingCloudSettings(**config.connections["mc"].settings())
    assert (marketing.mid, marketing.server_utc_offset, marketing.max_async_rows) == (77, -7.0, 5)
    assert MemorySettings(**config.connections["a"].settings()) == MemorySettings(str(tmp_path / "world.sock"), "a")
    assert all(connection.loopback for connection in config.connections.values())


def test_guards_are_the_limits(tmp_path: Path, credentials: dict[str, str]) -> None:
    config = load_config(write(tmp_path, SMALL + "guards: {removals_share: 5%, removals_most: 10}\n"), credentials)
    limits = Limits(**config.guards.model_dump())
    assert (limits.removals_share, limits.removals_most) == (0.05, 10)
    defaults = load_config(write(tmp_path, SMALL), credentials).guards.model_dump()
    assert Limits(**defaults) == Limits()
    assert defaults.keys() == {field.name for field in dataclasses.fields(Limits)} - {"churn"}


def test_everything_wrong_is_told_at_once_and_no_secret_with_it(tmp_path: Path) -> None:
    found = problems(tmp_path, """\
        state: x.db
        journal: j.log
        hash_key: hunhunhunhunhunhunhun
        mappings: []
        polcy: {}
        connections:
          sf: {type: salesforce, domain: acme.my, auth: {flow: client_credentials, client_id: a, client_secret: hun}}
          o: {type: odo, url: x}
          m: {type: marketing_cloud, subdomain: "a/b", client_id: "${NOPE}", client_secret: "${cred:x}", mid: abc}
          q: {url: x}
          d: {type: salesforce, auth: {flow: client_credentials, client_id: a, client_secret: "hun-${NOPE}"}}
        schedule: {poll: 60}
        guards: {removals_share: 2}
        """, {})
    assert found == [
        ':3:11: "hash_key": a secret is never written into the file. Write ${NAME}, ${file:path} or ${cred:name} '
        "instead.",
        ':4:11: "mappings": this must not be empty.',
        ':5:1: Unknown key "polcy". Did you mean "policy"?',
        ':7:105: "client_secret": a secret is never written into the file. Write ${NAME}, ${file:path} or ${cred:name} '
        "instead.",
        ":8:6: \"o\": \"type\" must be one of 'salesforce', 'odoo', 'marketing_cloud', 'memory'.",
        ':9:41: "subdomain": this is not spelled as it must be. Use letters, digits, underscores and dots.',
        ":9:59: The environment variable NOPE is not set. Set it, or use ${file:path}.",
        ":9:85: There is no credentials directory. Use LoadCredential= in the systemd unit, or set "
        "CREDENTIALS_DIRECTORY.",
        ':9:103: "mid": this must be a whole number.',
        ':10:6: "q": the key "type" is missing. Add it.',
        ":11:87: The environment variable NOPE is not set. Set it, or use ${file:path}.",
        ':12:18: "poll": a duration is a number with a unit: 90s, 15m, 1h, 1d.',
        ':13:26: "removals_share": this must be at most 1.',
    ]
    assert "hun" not in "".join(found)


@pytest.mark.parametrize(("reference", "message"), [
    ("${file:none.txt}", "cannot be read: No such file or directory."),
    ("${file:empty.txt}", "is empty or larger than 64 KB."),
    ("${file:binary.txt}", "is not UTF-8 text."),
    ("${cred:../syncd.yaml}", "A credential's name is letters, digits, dots, dashes and underscores."),
    ("${cred:..}", "A credential's name is letters"),
    ("${vault:x}", '"vault:" is no kind of reference.'),
    ("${A-B}", "A reference names an environment variable"),
    ("${}", "A reference names an environment variable"),
    ("${EMPTY}", "The environment variable EMPTY is not set."),
])
def test_references_that_lead_nowhere(tmp_path: Path, credentials: dict[str, str], reference: str,
                                      message: str) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    found, = problems(tmp_path, SMALL.replace("${KEY}", f'"{reference}"'), {**credentials, "EMPTY": ""})
    assert message in found


def test_references_in_plain_values(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(KEY + "\r\n")
    text = SMALL.replace("${KEY}", "${file:key.txt}").replace("name: a", 'name: "$${${WHO}}"')
    config = load_config(write(tmp_path, text), {"WHO": "me"})
    assert config.hash_key.reveal() == KEY
    assert config.connections["a"].settings()["name"] == "${me}"


def test_relative_paths_are_counted_from_the_file(tmp_path: Path, credentials: dict[str, str],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(write(tmp_path, SMALL), credentials)
    assert (config.state, config.journal) == (tmp_path / "syncd.db", tmp_path / "consent.log")
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("syncd.yaml"), credentials).state == tmp_path / "syncd.db"


@pytest.mark.parametrize(("url", "good"), [
    ("https://odoo.example", True), ("https://odoo.example:8443/x/", True), ("http://127.0.0.1:80", True),
    ("http://127.9.9.9", True), ("http://[::1]:8069", True), ("http://localhost", True),
    ("http://odoo.example", False), ("http://127.0.0.1.evil.example", False), ("http://10.0.0.1", False),
    ("ftp://odoo.example", False), ("odoo.example", False), ("https://user:pw@odoo.example", False),
    ("https://odoo.example/?a=1", False), ("https://", False), ("https://odoo.example:port", False),
])
def test_urls(tmp_path: Path, credentials: dict[str, str], url: str, good: bool) -> None:
    text = SMALL.replace("connections: {a:", f'connections: {{o: {{type: odoo, url: "{url}", database: d, user: u, '
                         'api_key: "${KEY}"}, a:')
    if good:
        assert load_config(write(tmp_path, text), credentials).connections["o"].loopback is url.startswith("http:")
    else:
        found, = problems(tmp_path, text, credentials)
        assert '"url": ' in found


@pytest.mark.parametrize(("old", "new", "message"), [
    ("${KEY}", "${SHORT}", "The hash key is shorter than 16 characters."),
    ("consent.log", "./syncd.db", "The journal and the state are one file."),
    ("{a: {type: memory, socket: world.sock, name: a}}", "{}", '"connections": this must not be empty.'),
    ("a: {type", "a.b: {type", '"a.b": this is not spelled as it must be.'),
    ("socket: world.sock, ", "", 'The key "socket" is missing.'),
])
def test_what_makes_no_sense(tmp_path: Path, credentials: dict[str, str], old: str, new: str, message: str) -> None:
    found, = problems(tmp_path, SMALL.replace(old, new), {**credentials, "SHORT": "short"})
    assert message in found


def test_a_place_must_be_named_once(tmp_path: Path, credentials: dict[str, str]) -> None:
    for where in ("", "domain: a, endpoint: 'https://x.example', "):
        text = SMALL.replace("{a: {", f"{{s: {{type: salesforce, {where}auth: {{flow: client_credentials, "
                             'client_id: x, client_secret: "${KEY}"}}, a: {')
        found, = problems(tmp_path, text, credentials)
        assert "this needs exactly one of domain and endpoint." in found


def test_secrets_show_themselves_to_nobody(tmp_path: Path, credentials: dict[str, str]) -> None:
    config = load_config(write(tmp_path, SKETCH), credentials)
    for shown in (repr(config), str(config), repr(config.connections["sf"]), f"{config.hash_key}",
                  repr([config.hash_key]), repr(config.model_dump())):
        assert "secret of" not in shown
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(config.hash_key)
    assert Secret("a") == Secret("a") != Secret("b")
    assert isinstance(config, Config)


HOOKED = SMALL.replace("connections: {a: {type: memory, socket: world.sock, name: a}}", """\
connections:
  mc: {type: marketing_cloud, subdomain: mc1, client_id: x, client_secret: "${KEY}", webhooks: WEBHOOKS}
""")


def test_webhooks_and_their_listener(tmp_path: Path, credentials: dict[str, str]) -> None:
    text = HOOKED.replace("WEBHOOKS", '{one: {key: "${KEY}"}, two: {key: ["${KEY}", "${SF_ID}"]}, new: {}}')
    config = load_config(write(tmp_path, text + 'web: {listen: "[::1]:8080", slow: 3s}\n'), credentials)
    assert config.web is not None
    assert (config.web.address, config.web.slow) == (("::1", 8080), 3_000_000)
    keys = {name: [key.reveal() for key in found] for name, found in config.connections["mc"].callbacks.items()}
    assert keys == {"one": [KEY], "two": [KEY, "sf-client"], "new": []}
    assert "webhooks" not in config.connections["mc"].settings()
    assert KEY not in repr(config)
    assert load_config(write(tmp_path, SMALL), credentials).web is None


def test_what_is_wrong_with_webhooks_is_told_with_its_place(tmp_path: Path, credentials: dict[str, str]) -> None:
    told = problems(tmp_path, HOOKED.replace("WEBHOOKS", '{one: {key: plain}}') + "web: {listen: here:8080}\n", credentials)
    assert len(told) == 2
    assert any("a secret is never written into the file" in text for text in told)
    assert any("the address before the port must be a number" in text and text.startswith(":") for text in told)
    [told] = problems(tmp_path, HOOKED.replace("WEBHOOKS", "{one: {}}"), credentials)
    assert "nothing listens for them" in told
    assert "web: {listen: 127.0.0.1:8080}" in told


def test_a_mapping_in_the_place_of_the_configuration_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text("people: {sources: {}}\ntopics: {}\n")
    with pytest.raises(ConfigProblems) as found:
        load_config(path, {})
    [problem] = found.value.problems
    assert str(problem).endswith(":1:1: This is a mapping, not a configuration."
                                 ' Name the syncd.yaml that lists it under "mappings".')
