"""How does a configuration that people already have become a trial, and an experiment YAML?"""
