"""What does the searcher of an experiment YAML find, tried on this machine? Optuna holds the trials, Determined's rules decide."""
