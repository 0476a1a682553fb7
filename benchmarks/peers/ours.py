"""covidnet_lite.classify; -1 where it refuses."""

from protocol import arguments, serve

import covidnet_lite

model, _, threads = arguments()


def classify(path):
    prediction = covidnet_lite.classify(path, model=model, threads=threads)
    return [*prediction.probabilities].index(prediction.most_likely) if prediction.probabilities else -1


serve(classify)
