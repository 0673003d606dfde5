"""How is a trained model validated, tested, used and handed on?"""
