// Package cluster is a Kubernetes cluster in network namespaces, for tests, benchmarks and the demo.
//
// etcd, kube-apiserver, kube-controller-manager and kube-proxy (nftables mode) are the real ones; nodes, pods and the
// client outside are network namespaces on one bridge. There is no kubelet: the package writes Node and Pod objects
// with their status, and serves the pods' pages itself.
//
//	NAME.sw       the switch: br0, one port p-HOST per host; Cut and Heal work here
//	NAME.cp       172.25.254.1     etcd, kube-apiserver, kube-controller-manager, Fairlead's controller
//	NAME.node-i   172.25.254.10+i  kube-proxy, Fairlead's speaker; eth0 into the switch, veth<j> to its pods
//	NAME.client   172.25.254.250   a host outside the cluster, same segment
//	NAME.pod-i-j  10.244.i.j       an HTTP server on port 80 that answers with the pod's name and the client's address
//
// The segment is 172.25.254.0/24 and fd00:172:25:254::/64. Every host's last octet is the same in both families; its
// MAC address carries its IPv4 address. What is named by the package starts with the cluster's name and a dot; nothing
// is global but one file in /run/fairlead-e2e that tells who owns it. Several clusters may run side by side.
package cluster
