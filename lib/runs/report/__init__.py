# SPDX-License-Identifier: MIT
"""A report of one or several runs: one HTML file that opens anywhere, without a network.

    from lib.runs.report.page import write_report

logged.py reads the journal, curves.py thins and groups what it holds, media.py and facts.py make
the rest ready for the templates report.html and run.html; report.js draws with plotly.js.
"""
