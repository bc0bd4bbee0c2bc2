"""`mesh completion SHELL`: what makes a shell complete commands, options and their choices.

The words are put into the script once: pressing a key starts no program.
"""

import argparse
from collections.abc import Iterator

from mesh.cli import exit_codes
from mesh.cli.output import Output

BASH = """\
_mesh() {{
    local here=mesh word words= last="${{COMP_WORDS[COMP_CWORD-1]}}" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${{COMP_WORDS[i]}}"
        [[ $word == -- ]] && {{ COMPREPLY=(); return; }}
        case "$here $word" in
            {commands}) here="$here $word" ;;
        esac
    done
    case "$here $last" in
{choices}
    *) case "$here" in
{words}
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _mesh mesh
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
FISH = """\
function __mesh_at
    set -l here mesh
    for word in (commandline -opc)[2..]
        contains -- "$here $word" {commands}; and set here "$here $word"
    end
    test "$here" = "$argv"
end
complete -c mesh -f -n "not string match -q '*-*' -- (commandline -ct)"
{lines}
"""


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mesh completion`."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")
    parser.set_defaults(run=completion)


def completion(options: argparse.Namespace) -> int:
    """Print the script for a shell."""
    from mesh.cli.main import build_parser

    output, parser = Output(options), build_parser()
    if options.shell == "fish":
        output.line(_fish(parser).rstrip())
    else:
        output.line((ZSH if options.shell == "zsh" else "") + bash_script(parser).rstrip())
    return exit_codes.OK


def walk(
    path: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, list[argparse.Action], dict[str, str]]]:
    """Yield each command with what may be given to it, and the commands below it."""
    # argparse has no public list of what was added to a parser.
    actions = [action for action in parser._actions if action.dest != "help"]  # noqa: SLF001  see above
    below: dict[str, argparse.ArgumentParser] = {}
    said: dict[str, str] = {}
    takes: list[argparse.Action] = []
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  its type has no public name
            below |= action.choices
            said |= {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001  as above
        elif action.option_strings or action.choices:
            takes.append(action)
    yield path, takes, said
    for name, deeper in below.items():
        yield from walk(f"{path} {name}", deeper)


def _plain(action: argparse.Action) -> list[str]:
    """Return the words that may stand for an argument of a command."""
    return [*action.option_strings] or [str(each) for each in action.choices or ()]


def bash_script(parser: argparse.ArgumentParser) -> str:
    """Return what bash is to read."""
    commands, words, choices = [], [], []
    for path, actions, below in walk("mesh", parser):
        if path != "mesh":
            commands.append(f'"{path}"')
        found = [*below, *(word for action in actions for word in _plain(action)), "--help"]
        words.append(f'        "{path}") words="{" ".join(found)}" ;;')
        choices += [
            f'    "{path} {option}") words="{" ".join(map(str, action.choices))}" ;;'
            for action in actions
            for option in action.option_strings
            if action.choices
        ]
    return BASH.format(
        commands="|".join(commands), words="\n".join(words), choices="\n".join(choices)
    )


def _fish(parser: argparse.ArgumentParser) -> str:
    commands, lines = [], []
    for path, actions, below in walk("mesh", parser):
        at = f"complete -c mesh -n '__mesh_at {path}'"
        if path != "mesh":
            commands.append(f'"{path}"')
        lines += [f"{at} -f -a {name} -d {_quoted(what)}" for name, what in below.items()]
        for action in actions:
            text = _quoted(action.help or "")
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in action.option_strings
            )
            given = f" -x -a '{' '.join(map(str, action.choices))}'" if action.choices else ""
            takes = " -r" if names and action.nargs != 0 and not given else ""
            lines.append(" ".join(f"{at} {names}{given}{takes} -d {text}".split()))
    return FISH.format(commands=" ".join(commands), lines="\n".join(lines))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
