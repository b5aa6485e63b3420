# SPDX-License-Identifier: MIT
# Prints the help of the make targets: `##@ Title` starts a section, `target: … ## text` is a line.
# The sections named in `first` (separated by commas) come first, the others as they are read.
# `takes` holds words TARGET=VARIABLE; the variables that the text does not name stand below it.

BEGIN {
    n = split(first, order, ",")
    for (i = 1; i <= n; i++) seen[order[i]] = 1
    m = split(takes, words, " ")
    for (i = 1; i <= m; i++) {
        split(words[i], pair, "=")
        taken[pair[1]] = taken[pair[1]] " " pair[2]
    }
}
/^##@ / { section = substr($0, 5); if (!(section in seen)) { seen[section] = 1; order[++n] = section } }
/^[A-Za-z0-9_%.<>-]+:.*## / {
    target = $0; sub(/:.*/, "", target)
    text = $0; sub(/^[^#]*## /, "", text)
    lines[section] = lines[section] sprintf("  %-22s %s\n", target, text)
    m = split(taken[target], names, " "); more = ""
    for (i = 1; i <= m; i++) if (!index(text, names[i] "=")) more = more " " names[i] "="
    if (more) lines[section] = lines[section] sprintf("  %-22s  with%s\n", "", more)
}
END {
    for (i = 1; i <= n; i++)
        if (order[i] in lines) {
            printf "%s%s\n%s", gap, order[i], lines[order[i]]
            gap = "\n"
        }
}
