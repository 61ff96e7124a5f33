/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun completion SHELL: what a shell reads to complete flowrun's command lines. The scripts hand the words to `flowrun complete` (see
 * complete.c) and show what comes back, so that all shells know the same. */
#include "flowrun/table.h"

#include <stdio.h>
#include <string.h>

static const char bash[] = "# bash completion of flowrun: source <(flowrun completion bash)\n"
                           "_flowrun() {\n"
                           "    local line=${COMP_LINE:0:COMP_POINT} words word candidate cut\n"
                           "    read -ra words <<<\"$line\"\n"
                           "    [[ $line == *[[:space:]] ]] && words+=(\"\")\n"
                           "    word=${words[${#words[@]} - 1]}\n"
                           "    # bash breaks words at = and :, and replaces what follows the last of them.\n"
                           "    cut=${word%\"${word##*[=:]}\"}\n"
                           "    COMPREPLY=()\n"
                           "    while IFS=$'\\t' read -r candidate _; do\n"
                           "        [[ $candidate == *[=/] ]] && compopt -o nospace\n"
                           "        printf -v candidate %q \"${candidate#\"$cut\"}\"\n"
                           "        COMPREPLY+=(\"$candidate\")\n"
                           "    done < <(\"${words[0]}\" complete \"${words[@]:1}\" 2>/dev/null)\n"
                           "}\n"
                           "complete -F _flowrun flowrun\n";

static const char zsh[] = "#compdef flowrun\n"
                          "# zsh completion of flowrun: a file _flowrun in a folder of $fpath, or source <(flowrun completion zsh)\n"
                          "_flowrun() {\n"
                          "    local line name\n"
                          "    local -a open open_about whole whole_about\n"
                          "    for line in \"${(@f)$(\"${words[1]}\" complete \"${(@Q)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
                          "        [[ -n $line ]] || continue\n"
                          "        name=${line%%$'\\t'*}\n"
                          "        if [[ $name == *[=/] ]]; then open+=(\"$name\") open_about+=(\"${line/$'\\t'/  }\")\n"
                          "        else whole+=(\"$name\") whole_about+=(\"${line/$'\\t'/  }\"); fi\n"
                          "    done\n"
                          "    compadd -S '' -d open_about -a open\n"
                          "    compadd -d whole_about -a whole\n"
                          "}\n"
                          "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _flowrun \"$@\"; else compdef _flowrun flowrun; fi\n";

static const char fish[] =
    "# fish completion of flowrun: flowrun completion fish | source\n"
    "complete -c flowrun -f -a '(set -l words (commandline -opc) (commandline -ct); $words[1] complete $words[2..-1] 2>/dev/null)'\n";

int command_completion(struct command *command) {
    static const struct { const char *name, *script; } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; command->graph && i < sizeof shells / sizeof *shells; i++)
        if (strcmp(shells[i].name, command->graph) == 0) {
            fputs(shells[i].script, stdout);
            return EXIT_DONE;
        }
    return command_say(EXIT_USAGE, "completion is for bash, zsh or fish%s%s", command->graph ? ", found " : "",
                       command->graph ? command->graph : ": flowrun completion bash");
}
