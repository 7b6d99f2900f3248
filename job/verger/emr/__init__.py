"""EMR on EKS: a run is a job run of a virtual cluster, which is a namespace of an EKS cluster."""
