"""What networks pretrained on ImageNet were fed with: pixels from 0 to 1, normalized by these."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of red, green and blue
IMAGENET_STD = (0.229, 0.224, 0.225)
