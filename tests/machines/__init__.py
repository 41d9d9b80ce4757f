"""The first minute on fresh machines: containers where Docker runs, else this machine's Pythons."""
