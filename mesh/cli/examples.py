"""How the help of each command ends: what it prints, its exit codes, and examples that parse."""

from collections.abc import Iterator
from typing import NamedTuple

from mesh.cli.exit_codes import (
    CANCELED,
    CONFLICT,
    FAILED,
    INTERRUPTED,
    MEANINGS,
    NOT_FOUND,
    OK,
    PERMISSION,
    TIMED_OUT,
    UNREACHABLE,
    USAGE,
)


class Ending(NamedTuple):
    """What is to be known of a command beside its options."""

    prints: str
    codes: tuple[int, ...]
    examples: tuple[str, ...]


HERE = (OK, FAILED, USAGE, INTERRUPTED)
"""Codes of a command that asks no node."""
ASKS = (OK, FAILED, USAGE, UNREACHABLE, PERMISSION, INTERRUPTED)
FINDS = (*ASKS, NOT_FOUND)
"""Of one that names a node or a task."""
HOLDS = (*ASKS, CONFLICT)
"""Of one that writes under a handle."""
WRITES = (*FINDS, CONFLICT)
ENDINGS = {
    "up": Ending(
        "who the node is and the line for the next machine, once it is a member; then it runs. "
        "With --json one document",
        (OK, FAILED, USAGE, PERMISSION, INTERRUPTED),
        (
            "mesh up",
            "mesh up --join @ticket",
            "mesh up --data ./b --bind 127.0.0.1:7002 --socket ./b/mesh.sock --name b --join -",
        ),
    ),
    "leave": Ending("`left`, once the others have been told", ASKS, ("mesh leave",)),
    "status": Ending("names and values", ASKS, ("mesh status --json | jq .tasks",)),
    "info": Ending("names and values", FINDS, ("mesh info build-2",)),
    "id": Ending("names and values; -q: the node's id", ASKS, ("mesh id --json | jq -r .mesh.id",)),
    "members": Ending(
        "a table, `*` marks this node; --watch: then a line per change",
        ASKS,
        ("mesh members --status alive -q", "mesh members --tag gpu=.+ --watch"),
    ),
    "wait": Ending(
        "how many are alive", (*ASKS, TIMED_OUT), ("mesh wait --members 3 --timeout 1m",)
    ),
    "events": Ending(
        "a line per event, until Ctrl-C or --count",
        ASKS,
        ("mesh events --topic member --jsonl", "mesh events --count 1"),
    ),
    "invite": Ending(
        "the ticket alone, talk is on stderr; list: a table",
        FINDS,
        ("mesh invite --uses 3 --ttl 1h > ticket", "mesh invite list", "mesh invite revoke 28f0"),
    ),
    "pending": Ending("a table; -q: ids", ASKS, ("mesh pending",)),
    "admit": Ending(
        "who was let in, with the fingerprint", FINDS, ("mesh admit c", "mesh admit --listen 10m")
    ),
    "deny": Ending("who was sent off, with the fingerprint", FINDS, ("mesh deny c",)),
    "remove": Ending(
        "who was removed, and how much of what it has said goes on counting",
        FINDS,
        ('mesh remove b --note "laptop stolen"', "mesh remove b --discard --root @paper"),
    ),
    "admin": Ending(
        "list: a table; else what was done",
        FINDS,
        ("mesh admin list", "mesh admin add b", "mesh admin remove b --root @paper"),
    ),
    "root": Ending(
        "export, rotate: a line per key; else what was done",
        ASKS,
        ("mesh root export > paper", "mesh root lock @paper", "mesh root rotate"),
    ),
    "rekey": Ending(
        "nothing; on stderr, where the former key is kept. The node must not be running",
        (*HERE, PERMISSION),
        ("mesh rekey --data /var/lib/mesh",),
    ),
    "task submit": Ending(
        "the task's id and on how many nodes it is; -q: the id; --wait: the output, as bytes",
        (*WRITES, TIMED_OUT, CANCELED),
        (
            'mesh task submit build \'{"ref": "main"}\' --wait',
            "mesh task submit build @spec --priority 5 --deadline 2h --limit db=2 --requires gpu",
            "mesh task submit report --after 1-1658ff97-2f66ae07 2-1658ff97-2f66ae07 -q",
        ),
    ),
    "task list": Ending(
        "a table; -q: ids", ASKS, ("mesh task list --state working", "mesh task list --kind b -q")
    ),
    "task show": Ending(
        "names and values, then a table of its runs", FINDS, ("mesh task show ID --json",)
    ),
    "task watch": Ending(
        "a line per change, until Ctrl-C or --count", ASKS, ("mesh task watch --kind build",)
    ),
    "task history": Ending("a table of signed facts", FINDS, ("mesh task history ID",)),
    "task wait": Ending(
        "its output, as bytes; the exit code says how it ended",
        (*FINDS, TIMED_OUT, CANCELED),
        ("mesh task wait ID --timeout 1h > output",),
    ),
    "task result": Ending(
        "its output, as bytes", (*FINDS, TIMED_OUT), ("mesh task result ID -o build.tar",)
    ),
    "task claim": Ending(
        "names and values, with the handle; -q: the handle",
        (*WRITES, TIMED_OUT),
        ("handle=$(mesh task claim ID -q)", "mesh task claim --kind build --timeout 10m --json"),
    ),
    "task start": Ending("names and values", HOLDS, ('mesh task start "$handle"',)),
    "task complete": Ending(
        "names and values", HOLDS, ('mesh task complete "$handle" @build.tar',)
    ),
    "task fail": Ending("names and values", HOLDS, ('mesh task fail "$handle" "tests are red"',)),
    "task release": Ending(
        "names and values",
        WRITES,
        (
            'mesh task release "$handle" --put-off 2h',
            'mesh task release --force ID --reason "stuck for days"',
        ),
    ),
    "task decline": Ending("names and values", HOLDS, ('mesh task decline "$handle" "no GPU"',)),
    "task progress": Ending(
        "names and values",
        HOLDS,
        ('mesh task progress "$handle" "compiling" --done 46 --total 100 --checkpoint 46',),
    ),
    "task handoff offer": Ending(
        "names and values",
        WRITES,
        ('mesh task handoff offer "$handle" --to build-2 --goal "green build" --pending "fix"',),
    ),
    "task handoff withdraw": Ending(
        "names and values", WRITES, ('mesh task handoff withdraw "$handle"',)
    ),
    "task handoff accept": Ending(
        "names and values, with the new handle and the context",
        WRITES,
        ("mesh task handoff accept ID --agent bob",),
    ),
    "task handoff decline": Ending(
        "names and values", WRITES, ('mesh task handoff decline ID "busy until Friday"',)
    ),
    "task ask": Ending(
        "the question's id; --wait: the answer",
        (*HOLDS, TIMED_OUT),
        ('mesh task ask "$handle" "which branch?" --limit 2h --wait',),
    ),
    "task answer": Ending("names and values", WRITES, ('mesh task answer ID "main" --agent tom',)),
    "task questions": Ending("a table", FINDS, ("mesh task questions", "mesh task questions ID")),
    "task verify": Ending(
        "names and values",
        WRITES,
        ('mesh task verify accept ID "ran the tests" --agent tom',),
    ),
    "task reopen": Ending("the new task's id", WRITES, ("mesh task reopen ID",)),
    "task cancel": Ending("names and values", WRITES, ("mesh task cancel ID",)),
    "fence check": Ending(
        "names and values; -q: nothing", WRITES, ('mesh fence check ID "$MESH_TASK_TOKEN" -q',)
    ),
    "fence certificate": Ending(
        "the certificate, one line", WRITES, ("mesh fence certificate ID > certificate",)
    ),
    "fence verify": Ending(
        "what it proves: task, token, node, agent",
        (*HERE, PERMISSION, CONFLICT),
        ('mesh fence verify --mesh "$mesh_id" --task ID --greatest "$seen" @certificate',),
    ),
    "work": Ending(
        "nothing; talk and what commands write to stderr is on stderr. Runs until SIGTERM",
        ASKS,
        (
            "mesh work --kind build -- ./build.sh",
            "mesh work --kind upper --jobs 4 -- tr a-z A-Z",
            "mesh work --kind reverse --stream -- node reverse.js",
        ),
    ),
    "top": Ending(
        "a screen per look; once, where stdout is no terminal", ASKS, ("mesh top --every 5s",)
    ),
    "tax": Ending("a table", ASKS, ("mesh tax --over 1m",)),
    "rpc": Ending(
        "the result, as JSON",
        (*WRITES, TIMED_OUT),
        ("mesh rpc node.status", 'mesh rpc task.show \'{"task": "ID"}\''),
    ),
    "doctor": Ending(
        "a line per finding (ok, note, wrong) and hints; exit 1 if anything is wrong",
        HERE,
        ("mesh doctor", "mesh doctor --join @ticket"),
    ),
    "sim": Ending(
        "what happens, line by line, and a verdict; exit 1 if a rule was broken",
        HERE,
        (
            "mesh sim --scenario split",
            "mesh sim --sizing --nodes 3,10,30 --loss 0,5 --delay 20ms:80ms",
        ),
    ),
    "demo": Ending(
        "a report; exit 0 only if every result was right", HERE, ("mesh demo --nodes 3",)
    ),
    "completion": Ending("a script for that shell", HERE, ('eval "$(mesh completion bash)"',)),
}


def end_of_help(program: str) -> Iterator[str]:
    """Yield the last lines of the help of `mesh task submit`, or of another command."""
    ending = ENDINGS.get(program.partition(" ")[2])
    if ending is None:
        return
    yield from ("", f"prints: {ending.prints}", "", "exit codes:")
    yield from (f"  {code:<3}  {MEANINGS[code]}" for code in sorted(ending.codes))
    yield from ("", "examples:", *(f"  {example}" for example in ending.examples))
