//! gRPC server reflection, v1 and v1alpha, over every service of the main connection. Spec: RFL-1.

use tonic_reflection::server::Builder;

use super::error::ServeError;
use crate::generated::{grpc, plugin};
use crate::services::Services;

/// The descriptors of go-plugin's and gRPC's own services.
const OWN: [&[u8]; 4] = [
    plugin::DESCRIPTORS,
    grpc::health::v1::DESCRIPTORS,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];
pub(super) const REFLECTION: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Adds both versions of the reflection service. They list services by name, as Go's do.
pub(super) fn add(services: Services) -> Result<Services, ServeError> {
    let mut names: Vec<&str> = services.names().chain(REFLECTION).collect();
    names.sort_unstable();
    let builder = || {
        let mut builder = Builder::configure().include_reflection_service(false);
        for set in OWN.iter().chain(services.descriptors()) {
            builder = builder.register_encoded_file_descriptor_set(set);
        }
        names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    let refused =
        |error: tonic_reflection::server::Error| ServeError::Descriptors(error.to_string());
    let v1 = builder().build_v1().map_err(refused)?;
    let v1alpha = builder().build_v1alpha().map_err(refused)?;
    Ok(services.add(v1).add(v1alpha))
}
