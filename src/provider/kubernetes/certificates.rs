//! The certificates of a cluster, and of the way to it.
//!
//! The way shows its own without any right: the kubeconfig, and a handshake with the API server, which is made even
//! where nothing else works, because an expired certificate is why. Everything else is read with whatever rights there
//! are; what is missing is named and changes nothing.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use kube::Config;
use serde::Deserialize;

use super::access::client_certificate;
use super::cluster::KubernetesCluster;
use super::kinds::{
    ApiServices, Conversions, ManagedCertificates, MutatingWebhooks, PendingServing, ValidatingWebhooks,
};
use super::list::{Kind, Listing, Pages};
use super::proxy::host_and_port;
use super::reads::serving_listing;
use super::transport::Target;
use super::wire::NamedBundle;
use crate::model::{
    AddressKind, CaBundle, CertificatePlace, CertificateSource, Certificates, Foreign, Node, NodeName, Readiness,
    SeenCertificate, UnseenCertificates,
};
use crate::provider::clock;
use crate::provider::tls::{self, Unseen, x509};
use crate::provider::{ReadError, ReadErrorKind};

/// How long a handshake may take: three round trips, and time for a name to be found.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);
/// How long one with a kubelet may take: whoever reaches kubelets is in their network.
const KUBELET_DEADLINE: Duration = Duration::from_secs(1);
/// How long all handshakes with kubelets may take together. They are worth knowing and nothing waits for them.
const KUBELETS_DEADLINE: Duration = Duration::from_secs(10);
/// How many handshakes are made at the same time.
const HANDSHAKES_AT_ONCE: usize = 64;
/// From outside the network of a cluster no kubelet can be reached: after so many that do not answer, and none that
/// does, no other is tried.
const KUBELETS_TRIED: usize = 4;
/// More API servers than this no cluster has.
const ADDRESSES_MAX: usize = 16;

/// The way to a cluster, as far as it shows certificates.
#[derive(Debug)]
pub(super) struct Way {
    host: String,
    port: u16,
    /// The name that the API server has to prove.
    name: String,
    /// What our kubeconfig proves it by; `None` where it is what this machine trusts, or nothing at all.
    authorities: Option<Vec<Vec<u8>>>,
    /// Our own certificate, where we have one.
    client: Option<Result<Vec<u8>, String>>,
    /// Whether the address is reached through a proxy, or without TLS: no handshake is possible then.
    closed: Option<&'static str>,
}

impl Way {
    /// What a configuration shows, before anything is sent.
    pub(super) fn of(config: &Config) -> Self {
        let url = &config.cluster_url;
        let plain = url.scheme_str() == Some("http");
        let (host, port) = host_and_port(url);
        Self {
            host: host.to_owned(),
            port,
            name: config.tls_server_name.clone().unwrap_or_else(|| host.to_owned()),
            authorities: config.root_cert.clone().filter(|_| !config.accept_invalid_certs),
            client: client_certificate(config),
            closed: if plain {
                Some("it is reached without TLS")
            } else {
                config.proxy_url.is_some().then_some("it is reached through a proxy")
            },
        }
    }

    fn address(&self) -> Foreign {
        Foreign::new(shown(&self.host, self.port))
    }

    /// What the kubeconfig itself shows.
    fn own(&self, found: &mut Certificates) {
        let source = CertificateSource::Kubeconfig;
        for der in self.authorities.iter().flatten() {
            take(CertificatePlace::KubeconfigAuthority, source, der, found);
        }
        match &self.client {
            Some(Ok(der)) => take(CertificatePlace::ClientCertificate, source, der, found),
            Some(Err(why)) => found.unseen.push(unseen(source, why)),
            None => {}
        }
    }

    /// What the API server shows at one of its addresses.
    async fn server(&self, host: &str, port: u16, source: CertificateSource, found: &mut Certificates) {
        // Behind another address stands the same server: it has to prove the same name, unless it proves the address.
        let chain = match tls::presented(host, port, &self.name, HANDSHAKE_DEADLINE).await {
            Ok(chain) => chain,
            Err(Unseen::Unreachable(why) | Unseen::NoCertificate(why)) => {
                found.unseen.push(unseen(source, format!("{}: {why}", shown(host, port))));
                return;
            }
        };
        let now = clock::now();
        let distrusted = self.authorities.as_ref().and_then(|authorities| {
            let by_name = tls::distrusted(&chain, authorities, &self.name, now)?;
            tls::distrusted(&chain, authorities, host, now).map(|_| by_name)
        });
        for (index, der) in chain.iter().enumerate() {
            let address = Foreign::new(shown(host, port));
            let own = index == 0;
            match x509::read(der) {
                Ok(x509) => found.seen.push(SeenCertificate {
                    distrusted: distrusted.as_ref().filter(|_| own).map(Foreign::new),
                    ..seen(
                        if own {
                            CertificatePlace::ApiServer(address)
                        } else {
                            CertificatePlace::ApiServerChain(address)
                        },
                        x509,
                    )
                }),
                Err(why) => found.unseen.push(unseen(source, format!("{}: {why}", shown(host, port)))),
            }
        }
    }
}

/// An address with its port, as people write it.
fn shown(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn seen(place: CertificatePlace, x509: crate::model::X509) -> SeenCertificate {
    SeenCertificate { place, ends: x509.not_after, x509: Some(x509), renews_at: None, distrusted: None }
}

fn unseen(source: CertificateSource, why: impl AsRef<str>) -> UnseenCertificates {
    UnseenCertificates { source, why: Foreign::new(why), count: 1 }
}

/// What a read that failed leaves unseen. What a cluster does not have at all is nothing to be told of.
fn failed(source: CertificateSource, error: &ReadError) -> Option<UnseenCertificates> {
    if error.kind == ReadErrorKind::NotFound {
        return None;
    }
    Some(unseen(source, error.told().raw()))
}

/// One certificate in DER.
fn take(place: CertificatePlace, source: CertificateSource, der: &[u8], found: &mut Certificates) {
    match x509::read(der) {
        Ok(x509) => found.seen.push(seen(place, x509)),
        Err(why) => found.unseen.push(unseen(source, why)),
    }
}

/// The certificates of a text in PEM, all of the same place.
fn bundle(place: &CertificatePlace, source: CertificateSource, pem: &[u8], found: &mut Certificates) {
    match x509::certificates(pem) {
        Ok(all) => all.iter().for_each(|der| take(place.clone(), source, der, found)),
        Err(why) => found.unseen.push(unseen(source, why)),
    }
}

/// The EndpointSlices of the Service `kubernetes`, which name every API server.
#[derive(Deserialize)]
struct Slices {
    #[serde(default)]
    items: Vec<Slice>,
}

#[derive(Deserialize)]
struct Slice {
    #[serde(default)]
    endpoints: Vec<Endpoint>,
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Port {
    port: Option<u16>,
}

/// A ConfigMap.
#[derive(Deserialize)]
struct ConfigMap {
    #[serde(default)]
    data: std::collections::BTreeMap<String, String>,
}

impl KubernetesCluster {
    /// Every certificate that can be seen from here but those of kubelets.
    pub(super) async fn look_for_certificates(&self) -> Certificates {
        // A simulated cluster has no certificates.
        let Some(way) = &self.way else { return Certificates::default() };
        let mut found = Certificates::default();
        way.own(&mut found);
        let parts = futures::join!(
            self.servers(way),
            self.authorities(),
            self.bundles(
                CertificateSource::ValidatingWebhooks,
                "validatingwebhookconfigurations",
                "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
                CaBundle::ValidatingWebhook,
                ValidatingWebhooks,
            ),
            self.bundles(
                CertificateSource::MutatingWebhooks,
                "mutatingwebhookconfigurations",
                "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
                CaBundle::MutatingWebhook,
                MutatingWebhooks,
            ),
            self.bundles(
                CertificateSource::ApiServices,
                "apiservices",
                "/apis/apiregistration.k8s.io/v1/apiservices",
                CaBundle::ApiService,
                ApiServices,
            ),
            self.bundles(
                CertificateSource::Conversions,
                "customresourcedefinitions",
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                CaBundle::Conversion,
                Conversions,
            ),
            self.managed(),
        );
        let (servers, authorities, validating, mutating, services, conversions, managed) = parts;
        for part in [servers, authorities, validating, mutating, services, conversions, managed] {
            found.extend(part);
        }
        found
    }

    /// The API servers: the address of the kubeconfig, and all that stand behind it.
    async fn servers(&self, way: &Way) -> Certificates {
        let mut found = Certificates::default();
        if let Some(why) = way.closed {
            found.unseen.push(unseen(CertificateSource::ApiServer, format!("{}: {why}", way.address().raw())));
            return found;
        }
        let own = way.server(&way.host, way.port, CertificateSource::ApiServer, &mut found);
        let ((), others) = futures::join!(own, self.addresses());
        let others = match others {
            Ok(others) => others,
            Err(error) => {
                found.unseen.extend(failed(CertificateSource::ApiServerAddresses, &error));
                return found;
            }
        };
        let others = others.into_iter().filter(|(host, port)| (host.as_str(), *port) != (&way.host, way.port));
        let looks = others.take(ADDRESSES_MAX).map(|(host, port)| async move {
            let mut found = Certificates::default();
            way.server(&host, port, CertificateSource::ApiServerAddresses, &mut found).await;
            found
        });
        for other in futures::future::join_all(looks).await {
            found.extend(other);
        }
        found
    }

    /// The addresses of all API servers, as they register themselves.
    async fn addresses(&self) -> Result<Vec<(String, u16)>, ReadError> {
        let target = Target::new("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")
            .with("labelSelector", "kubernetes.io/service-name=kubernetes");
        let operation = "list the endpointslices of the service kubernetes".to_owned();
        let slices = self.get_as(target.into_text(), operation, |slices: Slices| Ok(slices)).await?;
        let mut all = Vec::new();
        for slice in slices.map(|slices| slices.items).unwrap_or_default() {
            for port in slice.ports.iter().filter_map(|port| port.port) {
                let addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                all.extend(addresses.map(|address| (address.clone(), port)));
            }
        }
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// The authorities that the API server and the pods trust, from their ConfigMaps.
    async fn authorities(&self) -> Certificates {
        let mut found = Certificates::default();
        let map = |name: &'static str| {
            let path = format!("/api/v1/namespaces/kube-system/configmaps/{name}");
            self.get_as(path, format!("read configmap kube-system/{name}"), |map: ConfigMap| Ok(map.data))
        };
        let (pods, requests) = futures::join!(map("kube-root-ca.crt"), map("extension-apiserver-authentication"));
        let places = [
            (CertificateSource::PodsAuthority, pods, [Some(("ca.crt", CertificatePlace::PodsAuthority)), None]),
            (
                CertificateSource::RequestAuthorities,
                requests,
                [
                    Some(("client-ca-file", CertificatePlace::ClientAuthority)),
                    Some(("requestheader-client-ca-file", CertificatePlace::FrontProxyAuthority)),
                ],
            ),
        ];
        for (source, read, keys) in places {
            match read {
                Ok(data) => {
                    let data = data.unwrap_or_default();
                    for (key, place) in keys.into_iter().flatten() {
                        if let Some(pem) = data.get(key) {
                            bundle(&place, source, pem.as_bytes(), &mut found);
                        }
                    }
                }
                Err(error) => found.unseen.extend(failed(source, &error)),
            }
        }
        found
    }

    /// The authorities that the objects of a kind name.
    async fn bundles<K: Kind<Model = Vec<NamedBundle>>>(
        &self,
        source: CertificateSource,
        plural: &str,
        path: &str,
        what: CaBundle,
        kind: K,
    ) -> Certificates {
        let mut found = Certificates::default();
        let listing = Listing { operation: format!("list {plural}"), target: Target::new(path) };
        match Pages::new(self.transport.clone(), listing, kind).all().await {
            Ok((all, _)) => {
                for named in all.into_iter().flatten() {
                    let place = CertificatePlace::Bundle(what, Foreign::new(&named.name));
                    bundle(&place, source, &named.pem, &mut found);
                }
            }
            Err(error) => found.unseen.extend(failed(source, &error)),
        }
        found
    }

    /// The Certificates of cert-manager.
    async fn managed(&self) -> Certificates {
        let target = Target::new("/apis/cert-manager.io/v1/certificates");
        let listing = Listing { operation: "list certificates of cert-manager".to_owned(), target };
        match Pages::new(self.transport.clone(), listing, ManagedCertificates).all().await {
            Ok((all, _)) => Certificates { seen: all.into_iter().flatten().collect(), ..Certificates::default() },
            Err(error) => Certificates {
                unseen: failed(CertificateSource::CertManager, &error).into_iter().collect(),
                ..Certificates::default()
            },
        }
    }

    /// The requests of kubelets that wait for an answer.
    pub(super) async fn requests(&self) -> Certificates {
        match Pages::new(self.transport.clone(), serving_listing(), PendingServing).all().await {
            Ok((all, _)) => Certificates { requests: all.into_iter().flatten().collect(), ..Certificates::default() },
            Err(error) => Certificates {
                unseen: failed(CertificateSource::ServingRequests, &error).into_iter().collect(),
                ..Certificates::default()
            },
        }
    }

    /// The certificates that kubelets serve with, as far as they can be reached from here.
    pub(super) async fn look_at_kubelets(&self, nodes: &[Node]) -> Certificates {
        if self.way.is_none() {
            return Certificates::default();
        }
        // A kubelet that is down says nothing about the way to the others.
        let (up, down): (Vec<&Node>, Vec<&Node>) = nodes.iter().partition(|node| node.readiness == Readiness::Ready);
        let wanted: Vec<(NodeName, String, u16)> = up.into_iter().chain(down).filter_map(kubelet).collect();
        let (first, rest) = wanted.split_at(wanted.len().min(KUBELETS_TRIED));
        let mut found = Certificates::default();
        let mut unreachable: Vec<String> = Vec::new();
        let all = async {
            for part in [first, rest] {
                if part.is_empty() || (!unreachable.is_empty() && found.seen.is_empty() && found.unseen.is_empty()) {
                    break;
                }
                let looks = part.iter().map(|(node, host, port)| {
                    let look = tls::presented(host, *port, host, KUBELET_DEADLINE);
                    async move { (node, look.await) }
                });
                let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffer_unordered(HANDSHAKES_AT_ONCE);
                while let Some((node, look)) = looks.next().await {
                    match look {
                        Ok(chain) => match chain.first().map(|own| x509::read(own)) {
                            Some(Ok(x509)) => {
                                found.seen.push(seen(CertificatePlace::KubeletServing(node.clone()), x509));
                            }
                            Some(Err(why)) => {
                                found.unseen.push(unseen(CertificateSource::Kubelets, format!("{node}: {why}")))
                            }
                            None => {}
                        },
                        Err(Unseen::NoCertificate(why)) => {
                            found.unseen.push(unseen(CertificateSource::Kubelets, format!("{node}: {why}")));
                        }
                        Err(Unseen::Unreachable(why)) => unreachable.push(format!("{node}: {why}")),
                    }
                }
            }
        };
        // What was seen until then counts.
        let _ = tokio::time::timeout(KUBELETS_DEADLINE, all).await;
        let answered = found.seen.len() + found.unseen.len();
        let missing = wanted.len() - answered;
        if missing > 0 {
            unreachable.sort();
            let why = unreachable.first().cloned().unwrap_or_else(|| "there was no time left".to_owned());
            found.unseen.push(UnseenCertificates {
                source: CertificateSource::Kubelets,
                why: Foreign::new(why),
                count: u32::try_from(missing).unwrap_or(u32::MAX),
            });
        }
        found
    }
}

/// Where the kubelet of a node can be reached, if anywhere.
fn kubelet(node: &Node) -> Option<(NodeName, String, u16)> {
    let by = |kind| node.addresses.iter().find(|address| address.kind == kind);
    let address = by(AddressKind::InternalIp).or_else(|| by(AddressKind::ExternalIp))?;
    (node.kubelet_port != 0).then(|| (node.name.clone(), address.address.raw().to_owned(), node.kubelet_port))
}
