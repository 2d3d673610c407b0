"""Training: shards -> prepared arrays -> batches -> loop -> checkpoint.

``shards`` reads the npz form, ``prepared`` decodes it once into flat arrays,
``batches`` draws fixed-size batches as a function of the step, ``step`` joins
network and loss, ``loop`` trains (resumably, alone or under torchrun), and
``reconstruct`` scores a network in space.
"""
