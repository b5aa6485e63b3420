# SPDX-License-Identifier: MIT
"""What came out of a sweep, as tables, one HTML page and a defconfig.

from lib.sweep.report.board import board_of

board        configurations, their seeds aggregated, the best first
differences  each configuration against a baseline, paired by seed
pivot        a grid of two axes as rows and columns
tables       these as text, Markdown, LaTeX and CSV
importance   how much of the spread each parameter explains; figures: what the page draws
page         all of it in one file, by the template sweep.html; sweep.js draws
best         the best configuration as a defconfig
"""
