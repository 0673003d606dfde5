"""How does a trained model become a file that runs without its project, and does that file compute the same?"""
