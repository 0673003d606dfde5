"""How does a trained model become one file with its project's source, and how is that opened where the source is not?"""
