"""sigprop: signal-propagation theory and simulation of deep residual networks, from one description.

    arch = sp.architectures.looped_mlp(depth=2, loops=4)
    sp.derive(arch)      the recursions, as sympy equations and LaTeX
    sp.predict(arch)     the infinite-width numbers
    sp.measure(arch)     finite networks, each number with its standard error
    sp.verify(arch)      an equivalence test of the two
"""
