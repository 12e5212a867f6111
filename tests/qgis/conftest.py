"""What lies in suite/ and e2e/ runs inside QGIS: run_suite.py and test_e2e.py start it there."""

collect_ignore = ["suite", "e2e"]
