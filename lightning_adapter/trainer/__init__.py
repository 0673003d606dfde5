"""What does user code find at `self.trainer`, and what do `self.log`, loggers and the progress bar do?"""
