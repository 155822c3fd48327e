#pragma once
// Cinder v3, as far as the end of a volume's use by a server needs it (nova.volume.cinder and
// cinderclient of Zed to 2026.2): what a delete, a refusal or a failed operation gives back.
#include "agent/clients/keystone.hpp"

#include <map>
#include <string>

namespace novalet::clients {

/// A volume as `GET /volumes/<id>` shows it.
struct Volume {
    std::string id;
    bool multiattach = false;
    std::string migration_status;                   ///< "migrating" while Cinder moves it
    std::map<std::string, std::string> attachments; ///< server → id of its attachment
};

/// `[cinder] catalog_info` of Nova ("type:name:interface", the name may be empty) as options of the
/// client. The types block-storage and volumev3 stand for each other, the asked one first.
[[nodiscard]] ServiceOptions cinder_service(const std::string& catalog_info);

/// Thread safe. Calls go with the user's token of the context; one without a token (periodic work,
/// the start) goes with the agent's account. Nothing is asked before the first call, so a cloud
/// without Cinder is none the wiser.
///
/// Errors carry the exception that nova.volume.cinder raises: VolumeNotFound (404), InvalidInput
/// (400), Forbidden (403), OverQuota (413, of a volume), CinderConnectionFailed (Cinder, or the
/// Keystone that was asked for a token, is out of reach or gives no answer); cinderclient's own
/// Unauthorized (401), OverLimit (413, of an attachment), NotAcceptable (406), HTTPNotImplemented
/// (501) or ClientException (any other status); keystoneauth's EndpointNotFound when the catalog
/// has no Cinder, and cinderclient's UnsupportedVersion when its URL is not that of v3.
///
/// Requests that did not reach Cinder are sent again as ServiceOptions::connect_retries says. HTTP
/// 500 (and 504 for an attachment) is asked again without a pause, five times in all, where "five
/// times" stands below; everything else once. Ids that cannot be part of a URL are NotFound, as
/// Cinder itself would answer, and nothing is sent.
class Cinder {
  public:
    explicit Cinder(ServiceClient service);

    /// Five times. Ok when there is no such attachment (any more).
    [[nodiscard]] Result<void> delete_attachment(const rpc::Context& context,
                                                 const std::string& attachment_id);

    /// The export of an attachment without id (older than Cinder's API 3.44) to a host ends. Five
    /// times. `connector` describes the host as it did when the connection was made.
    [[nodiscard]] Result<void> terminate_connection(const rpc::Context& context,
                                                    const std::string& volume_id,
                                                    const Json& connector);
    /// The volume no longer counts as used by the server. Five times, the reading of the volume
    /// included, which tells the attachment of a multiattach volume.
    [[nodiscard]] Result<void> detach(const rpc::Context& context,
                                      const std::string& volume_id,
                                      const std::string& instance_uuid);

    /// detaching → in-use: nova-api began a detach that did not happen.
    [[nodiscard]] Result<void> roll_detaching(const rpc::Context& context,
                                              const std::string& volume_id);
    /// attaching → available: nova-api reserved the volume for an attachment without id.
    [[nodiscard]] Result<void> unreserve_volume(const rpc::Context& context,
                                                const std::string& volume_id);
    [[nodiscard]] Result<void> delete_volume(const rpc::Context& context,
                                             const std::string& volume_id);

    [[nodiscard]] Result<Volume> volume(const rpc::Context& context, const std::string& volume_id);
    /// Tells Cinder, which moves `old_volume` to `new_volume`, that the server's part failed.
    [[nodiscard]] Result<void> fail_migration(const rpc::Context& context,
                                              const std::string& old_volume,
                                              const std::string& new_volume);

  private:
    using Call = ServiceClient::Call;
    [[nodiscard]] Result<HttpResponse> ask(const rpc::Context& context, Call call);
    [[nodiscard]] Result<HttpResponse> ask_for(const rpc::Context& context,
                                               const std::string& volume_id);
    /// `POST /volumes/<id>/action`.
    [[nodiscard]] Result<HttpResponse> act(const rpc::Context& context,
                                           const std::string& volume_id,
                                           const std::string& action,
                                           Json arguments);

    ServiceClient service_;
};

} // namespace novalet::clients
