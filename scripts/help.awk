# SPDX-License-Identifier: MIT
# Prints the help of the make targets: `##@ Title` starts a section, `target: … ## text` is a line.
# The Makefile's own section comes last; a section continued in another fragment is not repeated.

/^##@ / { section = substr($0, 5); if (!(section in seen)) { seen[section] = 1; order[++n] = section } }
/^[A-Za-z0-9_%.<>-]+:.*## / {
    target = $0; sub(/:.*/, "", target)
    text = $0; sub(/^[^#]*## /, "", text)
    lines[section] = lines[section] sprintf("  %-22s %s\n", target, text)
}
END { for (i = 1; i <= n; i++) printf "%s%s\n%s", (i > 1 ? "\n" : ""), order[i], lines[order[i]] }
