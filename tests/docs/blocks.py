# SPDX-License-Identifier: Apache-2.0
"""Runs what the documents show, each document in a copy of the tree of its own, from the top down.

    python3 blocks.py TREE FLOWRUN-FOLDER PREFIX DOCUMENT...

```sh           the block is run as a script; it must succeed
```console      `$ ` begins a command, what follows is what it prints; `...` stands for anything, in a line or as a line of its own
```sh run-by: SCRIPT     another test runs these very lines
```sh not-run: REASON    is shown, not run; how many there are is printed
Other blocks are no commands: one that begins with a command's name fails.
"""
import os, re, shlex, shutil, subprocess, sys, tempfile

tree, folder, prefix, documents = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
passed = failed = 0
not_run = []
words = ("flowrun ", "tools/", "cmake ", "cc ", "python3 ", "$ ", "sudo ")


def blocks(text):
    """(line number, what stands after the fence, lines)"""
    inside = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if inside is None:
                inside = (number, line[3:].strip(), [])
            else:
                yield inside
                inside = None
        elif inside is not None:
            inside[2].append(line)


def result(name, problem):
    global passed, failed
    if problem is None:
        passed += 1
    else:
        failed += 1
        print("FAIL:", name)
        print("  | " + problem.strip()[-1500:].replace("\n", "\n  | "))


class Shell:
    def __init__(self, copy):
        self.at, self.place = copy, os.path.join(copy, ".place")
        self.env = dict(os.environ, PATH=folder + ":" + prefix + "/bin:" + os.environ["PATH"], CMAKE_PREFIX_PATH=prefix, CC="cc")
        for variable, value in (("PKG_CONFIG_PATH", "/lib/pkgconfig"), ("LD_LIBRARY_PATH", "/lib")):
            paths = [prefix + value] + [os.path.join(prefix, "lib", d, os.path.basename(value)) for d in os.listdir(prefix + "/lib")]
            if variable == "LD_LIBRARY_PATH":
                paths = [prefix + "/lib"] + [os.path.join(prefix, "lib", d) for d in os.listdir(prefix + "/lib")]
            self.env[variable] = ":".join(p for p in paths if os.path.isdir(p))

    def run(self, script):
        script = "set -eo pipefail\n" + script + "\npwd >" + shlex.quote(self.place) + "\n"
        try:
            done = subprocess.run(["bash", "-c", script], cwd=self.at, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=300)
        except subprocess.TimeoutExpired:
            return 1, "takes more than 300 seconds"
        if done.returncode == 0:
            self.at = open(self.place).read().strip()
        return done.returncode, done.stdout.decode(errors="replace")


def fits(expected, found):
    squeeze = lambda text: re.sub(r"\s+", " ", text.strip())
    pattern = ""
    for line in expected:
        if squeeze(line) == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += re.escape(squeeze(line)).replace(r"\.\.\.", ".*") + r"\n"
    return re.fullmatch(pattern, "".join(squeeze(line) + "\n" for line in found.splitlines() if squeeze(line)))


def console(shell, name, lines):
    commands = []
    for line in lines:
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands and line.startswith("> "):
            commands[-1] = (commands[-1][0] + "\n" + line[2:], [])
        elif commands and line.strip():
            commands[-1][1].append(line)
    for command, expected in commands:
        status, found = shell.run(command + " || true" if any("did you mean" in line for line in expected) else command)
        if status:
            result(name + ": " + command, found)
        else:
            result(name + ": " + command, None if fits(expected, found) else "printed:\n" + found + "\nshown:\n" + "\n".join(expected))


for document in documents:
    text = open(os.path.join(tree, document)).read()
    copy = tempfile.mkdtemp(dir=os.path.dirname(prefix))
    subprocess.run("git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - 2>/dev/null | tar -xf - -C " + shlex.quote(copy), shell=True,
                   cwd=tree, check=True)
    os.makedirs(copy + "/build", exist_ok=True)
    os.symlink(folder, copy + "/build/release")
    shell = Shell(copy)
    for number, kind, lines in blocks(text):
        name = "%s:%d" % (document, number)
        if kind.startswith("sh not-run:") or kind.startswith("console not-run:"):
            not_run.append("%s: %s" % (name, kind.split(":", 1)[1].strip()))
        elif kind.startswith("sh run-by:"):
            script = os.path.join(tree, kind.split(":", 1)[1].strip())
            text_of_it = open(script).read() if os.path.exists(script) else ""
            result(name, None if document in text_of_it else "%s does not read %s" % (script, document))
        elif kind == "sh":
            status, found = shell.run("\n".join(lines))
            result(name, found if status else None)
        elif kind == "console":
            console(shell, name, lines)
        elif kind.split(" ")[0] in ("", "bash", "shell") and lines and lines[0].startswith(words):
            result(name, "commands, neither run nor marked: ```sh, ```console or ```sh not-run: REASON")
    shutil.rmtree(copy)

for line in not_run:
    print("not run:", line)
print("%d blocks are not run; %d passed, %d failed" % (len(not_run), passed, failed))
sys.exit(failed > 0 or passed < 20)
