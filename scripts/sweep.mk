# SPDX-License-Identifier: MIT
# Many runs from one description. See docs/sweeps.md.

##@ Sweeps
