# SPDX-License-Identifier: MIT
"""A report of one or several runs: one HTML file that opens anywhere, without a network.

from lib.runs.report.page import write_report

logged       the journal, read in one pass
curves       what shares a chart, and at most so many points
media        samples, images, tables, histograms
facts        everything else about one run; files: what its small files say
comparison   several runs side by side
page         all of these in the templates report.html and run.html; report.js draws
html         what any such file is: one page, styles, scripts and data in it
"""
