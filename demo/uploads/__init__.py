"""What visitors upload: looked at before anything is done with it, and kept under safe names in the job's own folder.

What a file is, its content says, never its name. One upload is one side: many images, or one file that stands for
a set of images.

=============================  =====================================================================================
upload                         what is kept in the folder
=============================  =====================================================================================
images                         each of them, under its own name as far as that is safe: reports show these names
zip, tar                       the archive as it is: `genmetrics_rt` reads the members where they lie
tar.gz, tar.bz2, tar.xz        the plain tar, unpacked here, since only here its size is bounded
npy, npz                       the array as it is
statistics (npz, pkl, pt)      the file as it is
=============================  =====================================================================================

`genmetrics_rt` itself never executes what a file holds, never writes where a member's name points, reads each member
in a bounded way and lists what it skips. Its bounds are those of a user's own machine: a gigabyte a file, 179 million
pixels an image, any number of files. Here the bounds are those of a machine that strangers share, and what an honest
archive does not have (links, devices, members that overlap) refuses it.

Each module imports only from those below it:

==============  ====================================================================================================
module          what is in it
==============  ====================================================================================================
``doors``       `accept`: which of the kinds below an upload is
``zips``        zips of images; npz and pt are zips too
``tars``        tars, plain or packed
``archives``    what holds for the members of both
``arrays``      npy and npz: images or features
``statistics``  mean and covariance, features, saved references
``images``      images, alone or in an archive
``files``       one file: its size, its first bytes, how it is kept
``names``       names that are safe to show and to keep
``limits``      `Limits`, `Side`, `Refused`, and the refusals that several of them need
==============  ====================================================================================================
"""

from uploads.doors import accept
from uploads.limits import Limits, Refused, Side

__all__ = ["Limits", "Refused", "Side", "accept"]
