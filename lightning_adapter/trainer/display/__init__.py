"""What does a person see of a run's progress: on a terminal, in a notebook, in a file?"""
