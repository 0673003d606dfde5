"""How does a run live on Determined: context, driver, boundaries, preemption, experiment YAML, launching?"""
