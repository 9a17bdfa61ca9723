# SPDX-License-Identifier: Apache-2.0
"""Questions that several compliance tests put to a running host. Each asks the program, not its file."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from testinfra.host import Host

from jinku.evidence.channel import Unreachable
from jinku.evidence.fleet import CONTROLLER, Fleet
from jinku.model import Topology
from jinku.model.environment import Operator
from jinku.model.people import accounts_on
from jinku.places import Places

#: Shell, for sabotages: keep the files of accounts as they are, and put them back to the last byte (AIDE looks).
_ACCOUNTS = "$(ls -d passwd* shadow* group* gshadow* subuid* subgid*)"
KEEP_ACCOUNTS = f"cd /etc && tar -cpf /run/sabotage.accounts.tar {_ACCOUNTS}"
PUT_ACCOUNTS_BACK = (
    f"cd /etc && rm -f {_ACCOUNTS} && tar -xpf /run/sabotage.accounts.tar && rm /run/sabotage.accounts.tar"
)

#: Shell, for sabotages: sshd takes people's certificates of one authority more, and of the vault's alone again.
_AUTHORITIES = "/etc/ssh/jinku_user_ca.pub"
SECOND_AUTHORITY = (
    f"cp -a {_AUTHORITIES} /run/sabotage.authorities && echo 'ssh-ed25519"
    f" AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf sabotage' >> {_AUTHORITIES}"
)
ONE_AUTHORITY = f"cat /run/sabotage.authorities > {_AUTHORITIES} && rm /run/sabotage.authorities"

#: Asks PostgreSQL as its administrator. The program itself, not Debian's Perl around it, which takes longer than the answer.
PSQL = 'setpriv --reuid postgres --regid postgres --init-groups -- "$(ls -d /usr/lib/postgresql/*/bin)"/psql -XAtq'


#: SSLError.reason when the server, not our own library, refuses the offer.
SERVER_SAYS_NO = {
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "UNEXPECTED_EOF_WHILE_READING",
    "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
}


#: An address that nobody has (RFC 5737).
NOBODYS_ADDRESS = "192.0.2.1"


def as_user(name: str) -> str:
    """What goes before a shell command to run it as an account, with its groups; no session is opened, so none is recorded."""
    return f"setpriv --reuid {name} --regid $(id -g {name}) --init-groups --"


ASKED = Path(__file__).with_name("asked")


#: How a script of asked/ imports a file that lies beside it.
_BESIDE = re.compile(r"^from (\w+) import ", re.MULTILINE)


@cache
def _script(name: str) -> str:
    """The program that goes to a host: the script, behind the files of asked/ that it imports, as modules."""
    text = (ASKED / name).read_text(encoding="utf-8")
    beside = [module for module in _BESIDE.findall(text) if (ASKED / f"{module}.py").is_file()]
    return "".join(_module(module) for module in beside) + text


def _module(name: str) -> str:
    """Lines that make a module of asked/ known to the Python that runs them."""
    text = (ASKED / f"{name}.py").read_text(encoding="utf-8")
    return (
        f"import sys, types\nsys.modules[{name!r}] = types.ModuleType({name!r})\n"
        f"exec(compile({text!r}, {f'{name}.py'!r}, 'exec'), vars(sys.modules[{name!r}]))\n"
    )


def ask(host: Host, script: str, *arguments: str, timeout: float = 20, user: str = "", after: str = "") -> str:
    """Run a script of compliance_tests/asked on ``host`` (from its standard input; as root or ``user``): what it printed.

    ``after``: a shell command that follows it in any case, within the same question, so that nothing comes between.

    :raises RuntimeError: the script itself failed, so that nothing can be said.
    """
    words = " ".join("'" + word.replace("'", "'\\''") + "'" for word in arguments)
    runner = f"setpriv --reuid {user} --regid {user} --groups jinku-tls -- " if user else ""
    # Without site packages Python starts in half the time; only what asks the database needs them.
    python = "python3" if "psycopg2" in _script(script) else "python3 -IS"
    then = f"; said=$?; {after}; exit $said" if after else ""
    result = host.run(
        f": compliance_tests/asked/{script}; {runner}{python} - {words}{then}", given=_script(script), timeout=timeout
    )
    if result.rc != 0:
        raise RuntimeError(f"{script} on {host.backend.hostname}: {result.stderr.strip().splitlines()[-1:]}")
    return str(result.stdout)


def not_loaded(host: Host, program: str, files: str, loaded: float, reload: str) -> str:
    """What is wrong and what would be right when a program loaded its settings before these files or folders last changed; else ''.

    loaded: Unix seconds. reload: command by which it reads them again. A change is one of content, or of what else stat tells
    (ctime): a file that was changed and put back is younger than the load of what stood in it meanwhile, and nobody can set this time.
    """
    times = [float(line) for line in host.check_output(f"find {files} -printf '%C@\\n'").splitlines()]
    if max(times) <= loaded:
        return ""
    return (
        f"{program} runs with other settings, or lets others in, than its files ({files}) say now; `jinku up`, which makes the files"
        f" right and has a change of theirs loaded, and {by_hand(host, reload)} where it finds nothing to change"
    )


def by_hand(host: Host, command: str) -> str:
    """For people: how they run a command on a host as root."""
    return f"`jinku ssh {host.backend.hostname} -- sudo {command}`"


def people_on(topology: Topology, node: str) -> list[Operator]:
    """The people who must have an account on a node: all who are present; on the audit zone's, no system administrator."""
    return list(accounts_on(topology.env, topology.node(node)))


def sshd_setting(host: Host, user: str = "", address: str = NOBODYS_ADDRESS) -> dict[str, str]:
    """Effective settings of sshd, as it would apply them to ``user`` coming from ``address`` (Match blocks included)."""
    where = f" -C user={user},host=probe.invalid,addr={address}" if user else ""
    lines = host.check_output(f"/usr/sbin/sshd -T{where}").splitlines()
    return {name: value for name, _, value in (line.partition(" ") for line in reversed(lines))}


def trusted_authorities(host: Host, setting: dict[str, str]) -> list[list[str]]:
    """Every authority whose certificates sshd takes of people: type and key of each line of its file, not of the first alone."""
    lines = host.check_output("cat %s", setting["trustedusercakeys"]).splitlines()
    return [line.split()[:2] for line in lines if line.strip() and not line.startswith("#")]


def ssh_attempt(fleet: Fleet, places: Places, node: str, user: str, *options: str) -> tuple[int, set[str], str]:
    """Try to open an SSH session from outside, through the bastion, on a connection of its own.

    Returns the exit code of the command ``true``, the methods of authentication that the server offered, and what the
    client said. Without options no key is shown.

    :raises Unreachable: the node answers on no way, or the bastion did not lead to its SSH server (no banner came).
    """
    fleet.host(node)
    words = " ".join(f"-o {option}" for option in options or ("PubkeyAuthentication=no",))
    result = fleet.host(CONTROLLER).run(
        f"ssh -v -F {places.ssh_config} -o ControlPath=none -o BatchMode=yes -o ConnectTimeout=5 {words} -l {user} {node} true"
    )
    if result.rc == 255 and not met_server(result.stderr):
        raise Unreachable(f"{node}: {(result.stderr.strip().splitlines() or ['no answer'])[-1]}")
    offered = [
        line.rpartition(":")[2] for line in result.stderr.splitlines() if "Authentications that can continue" in line
    ]
    return result.rc, {method.strip() for line in offered for method in line.split(",")}, str(result.stderr)


def met_server(said: str) -> bool:
    """Whether every client of an `ssh -v` got its server's banner; the jump's client, if one runs, speaks in ``said``, too.

    A client names its own version as soon as it has sent it, and the server's when that came.
    """
    sent = said.count("Local version string")
    return 0 < sent <= said.count("remote software version")


def pam_tries(
    host: Host, service: str, user: str, passwords: Sequence[str], *, after: str = ""
) -> list[tuple[int, str]]:
    """Try ``passwords`` one after the other through PAM; each answer is PAM's code (0: let in) and what it said.

    ``after``: a shell command that follows, as in :func:`ask`.
    """
    lines = ask(host, "pam_try.py", service, user, *passwords, after=after).splitlines()
    return [(int(line.partition(" ")[0]), line.partition(" ")[2]) for line in lines]


def tcp_probe(host: Host, targets: Iterable[tuple[str, int]], source: str = "") -> dict[tuple[str, int], str]:
    """Try TCP connections from ``host``: open, refused, prohibited, silent or unreachable, by address and port."""
    words = [*([f"source={source}"] if source else []), *(f"{address},{port}" for address, port in targets)]
    found = {}
    for line in ask(host, "tcp_probe.py", *words).splitlines():
        target, said = line.split()
        found[target.rpartition(",")[0], int(target.rpartition(",")[2])] = said
    return found


def listeners(host: Host) -> dict[tuple[str, str, int], str]:
    """Sockets that wait for others: (protocol, address, port) -> program, loopback left out; every protocol version."""
    found = {}
    for line in host.check_output("ss -Hlntup").splitlines():
        protocol, _, _, _, local, _, *rest = line.split(maxsplit=6)
        address, _, port = local.rpartition(":")
        address = address.strip("[]").partition("%")[0]
        if address not in ("::1", "lo") and not address.startswith("127."):
            found[protocol, address, int(port)] = rest[0].partition('"')[2].partition('"')[0] if rest else ""
    return found


def primary_database(fleet: Fleet, topology: Topology) -> Host:
    """The host whose database takes writes now; each is asked. :raises Unreachable: none says so."""
    for node in topology.nodes_of("postgres"):
        host = fleet.host(node.name)
        if host.run("runuser -u postgres -- psql -XAtq -c 'select pg_is_in_recovery()'").stdout.strip() == "f":
            return host
    raise Unreachable("no database takes writes")
